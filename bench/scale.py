"""Measures one server with thousands of callers: starts at one moment, many slow streams, and health probes.

Takes about ten minutes. Prints tables and writes JSON to `bench/results/`. Exits with 1 if a call ended
without `finished` and without a reason; with --check, also if a target was missed.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

from bench import machine
from bench.crowd import Job
from bench.run import ROOT, Server, environment
from bench.scale_report import row, tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.scale_report import Row

_RESULTS = ROOT / "bench" / "results"
_PROCESSES = 2
_START_S = 2.5
"""Seconds from the start of a crowd's processes to its first call: imports and connections."""
_LIMIT_S = 180.0
_MAX_GENERATIONS = 10_000
_SAMPLE_S = 0.5

_CHEAP: Final = {"tokens": 20}
_DEAR: Final = {"tokens": 300, "rate": 50.0, "timeout": 8.0}
_FULL: Final = {"calls": 300, "rate": 100.0, "ramp_s": 3.0}
"""30,000 tokens a second: more than a core can relay."""
_PROBED: Final = {"calls": 300, "rate": 100 / 3, "ramp_s": 3.0}
"""10,000 tokens a second."""


def _crowd(module: str, target: str, *, calls: int, **fields: Any) -> list[dict[str, Any]]:
    """Runs a crowd in several processes, which begin together. Returns the figures of each."""
    begin = time.monotonic() + _START_S
    running = []
    for number in range(_PROCESSES):
        job = Job(target=target, calls=calls // _PROCESSES, begin=begin, seed=number + 1, **fields)
        command = [sys.executable, "-m", module, json.dumps(asdict(job))]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=environment()))
    limit = _LIMIT_S + job.ramp_s + (job.tokens / job.rate if job.rate else 0.0)
    try:
        return [json.loads(process.communicate(timeout=limit)[0]) for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()


@contextmanager
def _served(engine: Server, *options: str) -> Iterator[Server]:
    """Starts a server; `--adaptive` admits as many generations as the process can serve, otherwise all."""
    command = ["-m", "bench.watched_server", "--base-url", f"http://{engine.address}/v1"]
    with _running("the server", *command, *options, "--permits", str(_MAX_GENERATIONS)) as server:
        yield server


@contextmanager
def _running(name: str, *command: str) -> Iterator[Server]:
    server = Server(name, [*command])
    try:
        yield server
    finally:
        server.stop()


class _Peak(threading.Thread):
    """Watches the memory of a process."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._over = threading.Event()
        self.before = self.most = machine.resident_bytes(pid)

    def run(self) -> None:
        """Samples until `stop` is called."""
        while not self._over.wait(_SAMPLE_S):
            self.most = max(self.most, machine.resident_bytes(self._pid))

    def stop(self) -> int:
        """Returns by how many bytes the process has grown at most."""
        self._over.set()
        self.join()
        return self.most - self.before


def _through(server: Server, name: str, *, calls: int, **fields: Any) -> Row:
    """Runs a crowd through the server."""
    peak = _Peak(server.pid)
    peak.start()
    cpu, began = machine.cpu_seconds(server.pid), time.monotonic()
    parts = _crowd("bench.crowd", server.address, calls=calls, **fields)
    seconds = machine.cpu_seconds(server.pid) - cpu
    cores = seconds / (time.monotonic() - began - _START_S)
    figures = row(name, calls, parts, cores)
    figures.call_us = seconds / calls * 1e6
    grown = peak.stop()
    if figures.completed:
        figures.kib_a_stream = grown / figures.completed / 1024
    return figures


def starts(engine: Server, kind: str, calls: int) -> Row:
    """Starts calls at one moment."""
    fields = {"cheap": _CHEAP, "dear": _DEAR}[kind]
    with _served(engine, "--adaptive") as server:
        return _through(server, f"{calls:,} {kind} starts", calls=calls, **fields)


def refusals(engine: Server, calls: int) -> Row:
    """Starts calls at one moment, all of which the gate refuses."""
    with _served(engine, "--refuse") as server:
        return _through(server, f"{calls:,} refused", calls=calls, **_CHEAP)


def bare_refusals(calls: int) -> Row:
    """Starts calls at one moment at a bare grpc.aio server that refuses them."""
    with _running("a bare server", "-m", "bench.refusing_server") as server:
        figures = _through(server, f"{calls:,} refused by a bare grpc.aio server", calls=calls, **_CHEAP)
    figures.is_floor = True
    return figures


def streams(engine: Server, calls: int, seconds: float) -> Row:
    """Runs streams of a token a second, first straight at the engine, then through the server."""
    ramp_s = calls / 200
    fields = {"calls": calls, "tokens": max(2, round(seconds)), "rate": 1.0, "ramp_s": ramp_s}
    direct = row("", calls, _crowd("bench.direct", engine.address, **fields), 0.0)
    with _served(engine, "--adaptive") as server:
        figures = _through(server, f"{calls:,} streams, 1 token/s", **fields)
    figures.engine_gap_ms = direct.gap_ms
    return figures


def probes(engine: Server, seconds: float) -> tuple[Row, list[float | None]]:
    """Probes the server's health while it relays 10,000 tokens a second."""
    with _served(engine, "--adaptive") as server, _probing(server.address, seconds, 0.25) as answers:
        tokens = round(seconds * _PROBED["rate"])
        return _through(server, "10,000 tokens/s", tokens=tokens, **_PROBED), answers()


def admin_probes(engine: Server, seconds: float) -> tuple[Row, list[float | None]]:
    """Probes both admin ports twice a second while the server has more to do than a core can."""
    pages, services = _free_addresses(2)
    with (
        _served(engine, "--admin-listen", pages, "--admin-grpc-listen", services) as server,
        _probing(f"http://{pages}/healthz", seconds, 0.5) as of_pages,
        _probing(services, seconds, 0.5) as of_services,
    ):
        tokens = round(seconds * _FULL["rate"])
        figures = _through(server, "full, admin", tokens=tokens, **_FULL)
        return figures, of_pages() + of_services()


@contextmanager
def _probing(target: str, seconds: float, every: float) -> Iterator[Callable[[], list[float | None]]]:
    """Probes in a process of its own. Yields what waits for the times of the answers."""
    command = [sys.executable, "-m", "bench.probes", target, str(seconds), str(every)]
    probing = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=environment())
    try:
        yield lambda: json.loads(probing.communicate(timeout=_LIMIT_S)[0])
    finally:
        probing.kill()
        probing.wait()


def _free_addresses(count: int) -> list[str]:
    """Returns addresses on which nothing listens."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    finally:
        for each in sockets:
            each.close()


def main() -> int:
    """Runs all scenarios, or the one that the arguments name, and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--only", choices=("starts", "streams", "probes", "admin"), help="run only this scenario"
    )
    parser.add_argument("--seconds", type=float, default=120.0, help="length of streams and of probing")
    parser.add_argument("--starts", type=int, nargs="+", default=[2_000, 4_000])
    parser.add_argument("--streams", type=int, default=5_000)
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 150)
    facts = machine.facts()
    rows: list[Row] = []
    answers: list[float | None] = []
    engine = Server("the engine", ["-m", "bench.engine"])
    try:
        with console.status("starting") as status:
            for name, scenario in _scenarios(arguments, engine):
                status.update(name)
                made = scenario()
                if isinstance(made, tuple):
                    made, answers = made
                rows.append(made)
    finally:
        engine.stop()
    facts["loadavg_after"] = machine.facts()["loadavg"][0]
    for each in tables(rows):
        console.print(each)
    missed = [line for each in rows for line in each.missed]
    if answers:
        late = answers.count(None)
        console.print(f"health probes: {len(answers)}, missed: {late}, slowest: {_slowest(answers):.0f} ms")
        missed += [f"{late} health probes were missed"] if late else []
    broken = [line for each in rows for line in each.broken]
    for line in [*broken, *missed]:
        console.print(line, soft_wrap=True)
    console.print(", ".join(f"{name} {value}" for name, value in facts.items()), style="dim")
    _RESULTS.mkdir(exist_ok=True)
    path = _RESULTS / f"scale-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    told = {"machine": facts, "rows": [vars(each) for each in rows], "probes": answers}
    path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return 1 if broken or (arguments.check and missed) else 0


def _scenarios(arguments: argparse.Namespace, engine: Server) -> Iterator[tuple[str, Callable[[], Any]]]:
    if arguments.only in {None, "starts"}:
        for kind in ("cheap", "dear"):
            for calls in arguments.starts:
                yield f"{calls:,} {kind} starts at one moment", partial(starts, engine, kind, calls)
        for calls in arguments.starts:
            yield f"{calls:,} refused starts", partial(refusals, engine, calls)
            yield f"{calls:,} refused starts at a bare server", partial(bare_refusals, calls)
    if arguments.only in {None, "streams"}:
        name = f"{arguments.streams:,} streams at 1 token/s"
        yield name, partial(streams, engine, arguments.streams, arguments.seconds)
    if arguments.only in {None, "probes"}:
        yield "health probes at 10,000 tokens/s", partial(probes, engine, arguments.seconds)
    if arguments.only == "admin":
        yield "admin probes at full CPU", partial(admin_probes, engine, arguments.seconds)


def _slowest(answers: list[float | None]) -> float:
    return max((answer for answer in answers if answer is not None), default=0.0) * 1e3


if __name__ == "__main__":
    sys.exit(main())
