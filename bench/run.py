"""Runs a scripted engine with tokengrpc and its peers (bench/peers.py), with the same load on each in turn.

Takes about four minutes. Prints tables and writes JSON to `bench/results/`. Exits with 1 if a stream
differed from what the engine had sent; with --check, also if a ratio was missed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from bench import machine, report
from bench.peers import OURS, PEERS, SSE, peer_commands
from bench.scraping import scraped
from bench.script import MODEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
_RESULTS = ROOT / "bench" / "results"
# LiteLLM's proxy takes longest.
_START_LIMIT_S = 120.0
_JOB_LIMIT_S = 60.0
CONNECTIONS = 4
QUIET_CONFIG = ROOT / "bench" / "without_telemetry.toml"
_LISTEN = ["--listen", "127.0.0.1:0"]

_BURSTS = {"mode": "bursts", "streams": 4, "tokens": 1000, "stamp_every": 100, "windows": 2, "window_s": 1.0}
_PACED = {"mode": "paced", "stamp_every": 25, "windows": 2, "window_s": 1.5}
QUIET, TOLD = "logs, metrics off", "logs, metrics on"
SCENARIOS: dict[str, dict[str, dict[str, Any]]] = {
    "bursts": {"": _BURSTS},
    "paced": {"": _PACED | {"streams": 60, "rate": 30.0, "ramp_s": 1.0}},
    "flood": {"": _PACED | {"streams": 300, "rate": 100 / 3, "ramp_s": 2.0}},
    "first_token": {"": {"mode": "first_token", "stamp_every": 1, "requests": 60, "warm_up": 10}},
    "telemetry": {QUIET: _BURSTS, TOLD: _BURSTS},
    "scaling": {
        "10 streams": _PACED | {"streams": 10, "rate": 300.0, "ramp_s": 1.0},
        "1000 streams": _PACED | {"streams": 1000, "rate": 3.0, "ramp_s": 3.0},
    },
}
_ROUNDS = {"telemetry": 6}
_USUAL_ROUNDS = 2
EVERYBODY = {"TOKENGRPC_LIMITS_MIN_GENERATIONS": "100000"}
"""Variables with which a server rejects nobody, so that all relays get the same load."""


def relay_commands(engine_url: str) -> dict[str, list[str]]:
    """Returns the arguments of Python that start each server of ours."""
    to_engine = ["--base-url", engine_url, "--model", MODEL, *_LISTEN]
    serve = ["-m", "tokengrpc", "serve", "--engine", "openai", *to_engine]
    return {
        OURS: serve,
        QUIET: [*serve, "--config", str(QUIET_CONFIG)],
        TOLD: [*serve, "--admin-listen", "127.0.0.1:0", "--log-level", "info", "--log-format", "json"],
    }


class Server:
    """A server process that has printed its address."""

    def __init__(
        self,
        name: str,
        arguments: list[str],
        variables: Mapping[str, str] | None = None,
        *,
        program: str = sys.executable,
    ) -> None:
        """Takes the program's arguments, and environment variables. The program is Python, unless named."""
        self._name = name
        # Files instead of pipes, because nobody reads on and a full pipe would stop the process.
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `stop`)
        command = [program, *arguments]
        self._process = subprocess.Popen(
            command,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment() | dict(variables or {}),
        )
        self.pid = self._process.pid
        try:
            self.address = self._wait_for_address()
        except BaseException:
            self.stop()
            raise

    def _wait_for_address(self) -> str:
        until = time.monotonic() + _START_LIMIT_S
        while time.monotonic() < until and self._process.poll() is None:
            if match := re.search(r"(?:listening on |running on http://)(\S+:\d+)", self.output()):
                return match[1]
            time.sleep(0.05)
        raise SystemExit(f"bench: {self._name} does not start:\n{self.output()[-2000:]}")

    def output(self) -> str:
        """Returns what the process has printed so far."""
        # At an explicit offset, because the process shares the file's position.
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), size, 0).decode(errors="replace")

    @property
    def admin_address(self) -> str:
        """HOST:PORT of the admin pages, as the log's first line has it; empty if there are none."""
        match = re.search(r'"admin_listen": "(\S+:\d+)"', self.output())
        return match[1] if match else ""

    def stop(self) -> None:
        """Ends the process."""
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()


def environment() -> dict[str, str]:
    """Returns the environment in which processes of the benchmarks find the packages of this repository."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "generated" / "python")])
    return os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


@contextlib.contextmanager
def servers(scenarios: list[str]) -> Iterator[tuple[Server, dict[str, Server], dict[str, str]]]:
    """Starts the engine, and the relays that the scenarios need. Yields why the other peers are missing."""
    needed = {relay for name in scenarios for _, relay, _ in _runs(name, PEERS)}
    with contextlib.ExitStack() as stack:

        def start(name: str, command: list[str]) -> Server:
            program, *arguments = command
            server = Server(name, arguments, EVERYBODY, program=program)
            stack.callback(server.stop)
            return server

        engine = start("the engine", [sys.executable, "-m", "bench.engine", *_LISTEN])
        url = f"http://{engine.address}/v1"
        commands = {name: [sys.executable, *rest] for name, rest in relay_commands(url).items()}
        peers, missing = peer_commands(url, _LISTEN) if needed & set(PEERS) else ({}, {})
        wanted = {name: command for name, command in (commands | peers).items() if name in needed}
        yield engine, {name: start(name, command) for name, command in wanted.items()}, missing


class Bench:
    """Runs jobs and collects their figures."""

    def __init__(self, engine: Server, relays: dict[str, Server], tell: Callable[[str], None]) -> None:
        self._engine = engine
        self._relays = relays
        self._tell = tell

    def scenario(self, name: str) -> dict[str, dict[str, Any]]:
        """Returns the figures by relay, or by variant if only tokengrpc is measured. The rounds alternate."""
        runs = _runs(name, [peer for peer in PEERS if peer in self._relays])
        results: dict[str, list[dict[str, Any]]] = {label: [] for label, _, _ in runs}
        rounds = _ROUNDS.get(name, _USUAL_ROUNDS)
        for round_number in range(rounds):
            for label, relay, job in runs:
                self._tell(f"{name}: {label}, round {round_number + 1} of {rounds}")
                with scraped(self._relays[relay].admin_address):
                    results[label].append(self.load(relay, job | {"seed": round_number + 1}))
            runs.reverse()  # so that what comes first has no advantage
        return {label: summary(results[label], job) for label, _, job in runs}

    def load(self, relay: str, job: dict[str, Any]) -> dict[str, Any]:
        """Runs one load on a relay, by name, and returns the client's figures."""
        server = self._relays[relay]
        job = job | {
            "target": server.address,
            "relay_pid": server.pid,
            "engine_pid": self._engine.pid,
            "engine_url": f"http://{self._engine.address}/v1",
            "connections": CONNECTIONS,
        }
        command = [sys.executable, "-m", "bench.load", json.dumps(job)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_JOB_LIMIT_S,
            cwd=ROOT,
            env=environment(),
            check=False,
        )
        result: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
        if not result.get("windows", result):
            why = f"{done.stderr[-2000:]}\n{result.get('check', '')}\n{server.output()[-2000:]}"
            raise SystemExit(f"bench: no figures from {relay}, {job['mode']}:\n{why}")
        _wait_until_idle(server.pid)
        return result


def _wait_until_idle(pid: int) -> None:
    """Waits, 20 s at most, while a relay that was far behind works on what nobody reads any more."""
    for _ in range(200):
        before = machine.cpu_seconds(pid)
        time.sleep(0.1)
        if machine.cpu_seconds(pid) - before < 0.02:
            return


def _runs(name: str, peers: Sequence[str]) -> list[tuple[str, str, dict[str, Any]]]:
    """Returns the runs of a round of a scenario: the label, the relay and the job of each."""
    variants = SCENARIOS[name]
    if name == "scaling":
        return [(variant, OURS, job) for variant, job in variants.items()]
    if name == "telemetry":
        return [(variant, variant, job) for variant, job in variants.items()]
    return [(relay, relay, variants[""] | {"sse": relay in SSE}) for relay in (OURS, *peers)]


def summary(results: list[dict[str, Any]], job: dict[str, Any]) -> dict[str, Any]:
    """Returns one set of figures for all rounds of a scenario."""
    checks = [result.pop("check") for result in results]
    check = {name: sum((row[name] for row in checks), type(checks[0][name])()) for name in checks[0]}
    if job["mode"] == "first_token":
        return report.middle(results) | {"check": check}
    windows = [window for result in results for window in result["windows"]]
    sent = {"sent_per_s": job["streams"] * job["rate"]} if "rate" in job else {}
    return report.middle(windows) | sent | {"check": check, "windows": windows}


def _write(result: dict[str, Any], now: datetime) -> Path:
    _RESULTS.mkdir(exist_ok=True)
    path = _RESULTS / f"{now:%Y%m%d-%H%M%S}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def main() -> int:
    """Runs all scenarios, or those that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", action="append", choices=sorted(SCENARIOS), help="run only these scenarios")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a ratio is missed")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    facts = machine.facts()
    names = arguments.only or list(SCENARIOS)
    with servers(names) as (engine, relays, missing), console.status("starting") as status:
        bench = Bench(engine, relays, status.update)
        figures = {name: bench.scenario(name) for name in names}
    facts["loadavg_after"] = machine.facts()["loadavg"][0]
    judged = report.verdicts(figures)
    report.show(console, figures, judged, facts)
    for peer, why in missing.items():
        console.print(f"{peer} was not measured: {why}")
    path = _write(report.as_json(figures, judged, facts) | {"not_measured": missing}, datetime.now(UTC))
    console.print(f"written to {path.relative_to(ROOT)}", style="dim")
    missed = [verdict for verdict in judged if verdict.ratio and not verdict.passed]
    return 1 if report.checks(figures)["wrong"] or (arguments.check and missed) else 0


if __name__ == "__main__":
    sys.exit(main())
