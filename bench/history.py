"""Notes the ratios of the last complete `make bench` in `history.jsonl`: one line a version.

A version that is noted already is noted anew. Only ratios of one run are noted, because figures of different
machines cannot be compared.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import tokengrpc
from bench.peers import OURS
from bench.report import holds

HISTORY = Path(__file__).resolve().parent / "history.jsonl"
RESULTS = HISTORY.parent / "results"
SCENARIOS = ("bursts", "paced", "flood", "first_token")
_OF_MACHINE = ("cores", "cpu", "python", "grpcio", "loadavg", "loadavg_after")


def entry(result: dict[str, Any], version: str, date: str) -> dict[str, Any]:
    """Returns the line for a result of `bench.run`.

    A rate that tokengrpc did not hold has no ratios. Raises ValueError for a run of single
    scenarios.
    """
    missing = [name for name in SCENARIOS if name not in result.get("ratios", {})]
    if missing:
        raise ValueError(f"the run has no ratios of {', '.join(missing)}: run `python -m bench.run`")
    ratios = {
        name: {peer: round(ratio, 4) for peer, ratio in result["ratios"][name].items()} for name in SCENARIOS
    }
    if not holds(result["figures"]["flood"][OURS]):
        ratios["flood"] = {}
    machine = {name: result["machine"][name] for name in _OF_MACHINE if name in result["machine"]}
    return {"version": version, "date": date, "ratios": ratios, "machine": machine}


def noted(path: Path = HISTORY) -> list[dict[str, Any]]:
    """Returns all lines, the oldest version first."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def note(line: dict[str, Any], path: Path = HISTORY) -> None:
    """Appends a line, in place of one for the same version."""
    before = noted(path) if path.exists() else []
    lines = [*(other for other in before if other["version"] != line["version"]), line]
    path.write_text("".join(f"{json.dumps(each)}\n" for each in lines), encoding="utf-8")


def main() -> int:
    """Notes the newest result."""
    # Results of the other benchmarks begin with their name.
    results = sorted(RESULTS.glob("[0-9]*.json"))
    if not results:
        print("error: there is no result yet: run `python -m bench.run`", file=sys.stderr)
        return 1
    newest = results[-1]
    day = newest.name.partition("-")[0]
    try:
        line = entry(json.loads(newest.read_text()), tokengrpc.__version__, f"{day[:4]}-{day[4:6]}-{day[6:]}")
    except ValueError as error:
        print(f"error: {newest.name}: {error}", file=sys.stderr)
        return 1
    note(line)
    print(f"{HISTORY.name}: {newest.name} as version {line['version']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
