"""Fuzzes targets with atheris, each in a process of its own.

    python -m fuzz.run                       # every target, for the time that `make check` allows
    python -m fuzz.run --target sse --seconds 3600 --runs -1
    python -m fuzz.run --target sse --input FILE

Each finding is saved in `fuzz/findings/`, and the command that repeats it is printed. Exits with 1 if there
is any finding.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from fuzz.mutation import mutate_request
from fuzz.seeds import CORPUS, seeds

_NAMES = ("sse", "http1", "openai", "anthropic", "vllm", "request")
_FINDINGS = CORPUS.parent / "findings"

# libFuzzer's own limits: seconds and MB per input, and the maximum length in bytes.
_HANG_SECONDS = 10
_MEMORY_MB = 2048
_LONGEST = 4096


def fuzz(target: str, options: list[str]) -> None:
    """Runs libFuzzer in this process. Does not return."""
    import atheris  # noqa: PLC0415 - an optional extra, needed only here

    with atheris.instrument_imports(include=["tokengrpc", "fuzz"]):
        from fuzz.targets import TARGETS  # noqa: PLC0415 - modules imported here are instrumented

    more = {}
    if target == "request":
        more["custom_mutator"] = lambda data, most, seed: mutate_request(data, most, seed, atheris.Mutate)
    atheris.Setup([sys.argv[0], *options], TARGETS[target], **more)
    atheris.Fuzz()


def _run(target: str, seconds: int, runs: int, seed: int) -> bool:
    _FINDINGS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        for number, data in enumerate(seeds(target)):
            (Path(corpus) / f"seed-{number:04}").write_bytes(data)
        options = {
            "max_total_time": seconds,
            "runs": runs,
            "seed": seed,
            "timeout": _HANG_SECONDS,
            "rss_limit_mb": _MEMORY_MB,
            "max_len": _LONGEST,
            "artifact_prefix": f"{_FINDINGS}/{target}-",
            "print_final_stats": 1,
        }
        command = [sys.executable, "-m", "fuzz.run", "--inside", target]
        command += [f"-{name}={value}" for name, value in options.items()]
        # Time to read the corpus and to end. A process that takes longer hangs.
        limit = 600 + max(0, seconds)
        done = subprocess.run([*command, corpus], capture_output=True, text=True, timeout=limit, check=False)
    output = done.stdout + done.stderr
    print(f"{target}: {_summary(output)}", flush=True)
    if done.returncode:
        print(output[-8000:], f"\nfuzz: {target} failed: repeat it with --target {target} --input FILE")
    return done.returncode == 0


def _summary(output: str) -> str:
    stats = dict(line[6:].split(": ") for line in output.splitlines() if line.startswith("stat::"))
    pulses = [line for line in output.splitlines() if " cov: " in line]
    covered = pulses[-1].split(" cov: ")[1].split()[0] if pulses else "?"
    return f"{stats.get('number_of_executed_units', '?')} inputs, {covered} edges covered"


def main() -> None:
    """Runs the targets that the arguments name. Returns the exit code."""
    if sys.argv[1:2] == ["--inside"]:
        fuzz(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--target", choices=_NAMES, action="append", help="may be repeated; default: all targets"
    )
    parser.add_argument("--seconds", type=int, default=20, help="duration per target; default: 20")
    parser.add_argument("--runs", type=int, default=100_000, help="maximum number of inputs; -1: no limit")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random choices; default: 1")
    parser.add_argument("--input", type=Path, help="run one file through the target and end")
    arguments = parser.parse_args()
    targets = arguments.target or list(_NAMES)
    if arguments.input is not None:
        from fuzz.targets import TARGETS  # noqa: PLC0415 - atheris must see its first import elsewhere

        for target in targets:
            TARGETS[target](arguments.input.read_bytes())
        return
    if find_spec("atheris") is None:
        print("fuzz: skipped: atheris is not installed; it has wheels for Linux on x86-64 only")
        sys.exit(bool(os.environ.get("TOKENGRPC_REQUIRE_ALL")))
    well = [_run(target, arguments.seconds, arguments.runs, arguments.seed) for target in targets]
    sys.exit(0 if all(well) else 1)


if __name__ == "__main__":
    main()
