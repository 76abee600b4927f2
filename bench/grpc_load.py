"""tokengrpc under load of ghz, a client of another project in Go: complete calls.

Takes about half a minute. Prints a table and writes ghz's summaries as JSON to `bench/results/`. Exits with 1
if a call did not end with OK.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench import machine
from bench.run import EVERYBODY, Server, relay_commands
from bench.script import MODEL, Script

_ROOT = Path(__file__).resolve().parent.parent
_GHZ = _ROOT / ".tools" / "bin" / "ghz"
_RESULTS = _ROOT / "bench" / "results"
_SERVICE = "tokenstreaming.v1.TokenStream"
_CONNECTIONS = 4
_LIMIT_S = 120


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A number of calls, the number of concurrent ones, and `tokens` per answer."""

    name: str
    method: str
    data: dict[str, Any]
    calls: int
    at_once: int
    tokens: int = 0


def _streams(name: str, script: Script, calls: int, at_once: int, phase: str = "") -> Scenario:
    prompt = script.prompt()
    if phase:
        prompt = prompt.replace(f"phase={script.phase!r}", f"phase={phase}")
    data = {"model": MODEL, "prompt": prompt}
    return Scenario(
        name=name, method="StreamTokens", data=data, calls=calls, at_once=at_once, tokens=script.tokens
    )


SCENARIOS: Final = (
    Scenario(
        name="CountTokens",
        method="CountTokens",
        data={"request": {"model": MODEL, "prompt": "How long is this?"}},
        calls=10_000,
        at_once=50,
    ),
    _streams("20 streams of 200 tokens, at once", Script(tokens=200), calls=4_000, at_once=20),
    # Each call has its own phase: streams whose tokens arrive at the same moments would look cheaper.
    _streams(
        "100 streams of 90 tokens, 30 a second",
        Script(tokens=90, rate=30.0),
        calls=400,
        at_once=100,
        phase="0.{{randomInt 10 99}}",
    ),
)


def run(scenario: Scenario, server: Server) -> dict[str, Any]:
    """Runs a scenario. Returns ghz's summary without its list of calls, and the server's CPU time."""
    before = machine.cpu_seconds(server.pid)
    command = [
        str(_GHZ),
        *("--insecure", "--format", "json", "--connections", str(_CONNECTIONS)),
        *("--total", str(scenario.calls), "--concurrency", str(scenario.at_once)),
        *("--timeout", "60s", "--call", f"{_SERVICE}/{scenario.method}"),
        *("--data", json.dumps(scenario.data), server.address),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    if done.returncode:
        raise SystemExit(f"bench: ghz failed: {done.stderr[-2000:] or done.stdout[-2000:]}")
    summary: dict[str, Any] = json.loads(done.stdout)
    server_cpu_s = machine.cpu_seconds(server.pid) - before
    kept = {name: value for name, value in summary.items() if name not in {"details", "options", "date"}}
    return {"scenario": asdict(scenario), "server_cpu_s": server_cpu_s, **kept}


def failed(summary: dict[str, Any]) -> int:
    """Returns the number of calls that did not end with OK."""
    return int(summary["count"] - summary["statusCodeDistribution"].get("OK", 0))


def table(summaries: list[dict[str, Any]]) -> Table:
    """Returns a table with a row for each scenario."""
    columns = ("", "calls/s", "tokens/s", "p50 ms", "p95 ms", "p99 ms", "server CPU ms a call", "not OK")
    shown = Table(*columns, title="ghz against tokengrpc")
    for summary in summaries:
        scenario, rate = summary["scenario"], summary["rps"]
        latency = {each["percentage"]: each["latency"] / 1e6 for each in summary["latencyDistribution"]}
        tokens = f"{rate * scenario['tokens']:,.0f}" if scenario["tokens"] else ""
        times = (f"{latency[percentage]:,.1f}" for percentage in (50, 95, 99))
        cpu = f"{summary['server_cpu_s'] / summary['count'] * 1e3:.2f}"
        shown.add_row(scenario["name"], f"{rate:,.0f}", tokens, *times, cpu, str(failed(summary)))
    return shown


def main() -> int:
    """Runs all scenarios."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    facts = machine.facts()
    engine = Server("the engine", ["-m", "bench.engine", "--listen", "127.0.0.1:0"])
    try:
        server = Server("tokengrpc", relay_commands(f"http://{engine.address}/v1")["tokengrpc"], EVERYBODY)
        try:
            summaries = [run(scenario, server) for scenario in SCENARIOS]
        finally:
            server.stop()
    finally:
        engine.stop()
    facts["loadavg_after"] = machine.facts()["loadavg"][0]
    console.print(table(summaries))
    console.print(", ".join(f"{name} {value}" for name, value in facts.items()), style="dim")
    _RESULTS.mkdir(exist_ok=True)
    path = _RESULTS / f"ghz-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    path.write_text(json.dumps({"machine": facts, "ghz": summaries}, indent=1) + "\n", encoding="utf-8")
    console.print(f"written to {path.relative_to(_ROOT)}", style="dim")
    return 1 if any(map(failed, summaries)) else 0


if __name__ == "__main__":
    sys.exit(main())
