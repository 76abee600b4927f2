"""What traces and metrics over OTLP cost: CPU per token of a server without them, and with samplings.

Starts a scripted engine, a real OTLP receiver, and one tokengrpc after another before the same load, in
rounds that alternate. Takes about a minute. Prints a table, and exits with 1 if a stream differed from what
the engine had sent, or if spans arrived at a receiver that should get none, or none at one that should.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from bench import machine, report
from bench.run import EVERYBODY, SCENARIOS, Bench, Server, relay_commands, summary

if TYPE_CHECKING:
    from collections.abc import Iterator

_LISTEN = ["--listen", "127.0.0.1:0"]
_ALWAYS = {"OTEL_TRACES_SAMPLER": "parentbased_always_on"}
_HUNDREDTH = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}
_NEVER = {"OTEL_TRACES_SAMPLER": "parentbased_always_off"}
VARIANTS: dict[str, dict[str, str] | None] = {
    "off": None,
    "0 %": _NEVER,
    "1 %": _HUNDREDTH,
    "100 %": _ALWAYS,
}
"""The sampler's variables of each server; None: without traces and metrics over OTLP."""
_ROUNDS = 3
_STOP_LIMIT_S = 10.0


@contextlib.contextmanager
def servers() -> Iterator[tuple[Server, dict[str, Server], dict[str, Server]]]:
    """Starts the engine, a server for each variant, and a receiver for each that exports."""
    with contextlib.ExitStack() as stack:

        def start(name: str, arguments: list[str], variables: dict[str, str]) -> Server:
            server = Server(name, arguments, EVERYBODY | variables)
            stack.callback(server.stop)
            return server

        engine = start("the engine", ["-m", "bench.engine", *_LISTEN], {})
        command = relay_commands(f"http://{engine.address}/v1")["tokengrpc"]
        receivers: dict[str, Server] = {}
        relays: dict[str, Server] = {}
        for name, sampler in VARIANTS.items():
            if sampler is None:
                relays[name] = start(name, command, {})
                continue
            receivers[name] = start(f"the receiver of {name}", ["-m", "tests.support.otlp_receiver"], {})
            endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{receivers[name].address}"}
            relays[name] = start(name, [*command, "--otlp", "true"], endpoint | sampler)
        yield engine, relays, receivers


def figures(bench: Bench, job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the figures of each variant. The rounds alternate, since the machine's speed varies."""
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in VARIANTS}
    for round_number in range(_ROUNDS):
        for name in VARIANTS:
            results[name].append(bench.load(name, job | {"seed": round_number + 1}))
    return {name: summary(result, job) for name, result in results.items()}


def received_spans(receiver: Server) -> int:
    """Stops a receiver, and returns how many spans it says it got."""
    os.kill(receiver.pid, signal.SIGTERM)
    until = time.monotonic() + _STOP_LIMIT_S
    while time.monotonic() < until:
        if found := re.search(r"^(\d+) spans$", receiver.output(), re.MULTILINE):
            return int(found[1])
        time.sleep(0.05)
    raise SystemExit(f"bench: a receiver does not end:\n{receiver.output()[-2000:]}")


def main() -> int:
    """Runs the load on each variant, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=("bursts", "paced"), help="run only this scenario")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table(title="CPU µs a token, by the share of traces that is sampled")
    table.add_column("")
    for name in VARIANTS:
        table.add_column(name, justify="right")
    names = [arguments.only] if arguments.only else ["bursts", "paced"]
    facts = machine.facts()
    with servers() as (engine, relays, receivers), console.status("starting") as status:
        bench = Bench(engine, relays, status.update)
        found = {name: figures(bench, SCENARIOS[name][""]) for name in names}
        for server in relays.values():
            server.stop()  # which exports what is left
        spans = {name: received_spans(receiver) for name, receiver in receivers.items()}
    for name, by_variant in found.items():
        table.add_row(name, *(f"{row['cpu_us_per_token']:.1f}" for row in by_variant.values()))
    table.add_row("spans received", *(str(spans.get(name, "")) for name in VARIANTS))
    console.print(table)
    console.print(f"{_ROUNDS} rounds; load average {facts['loadavg'][0]} before", style="dim")
    expected = spans["0 %"] == 0 < spans["100 %"]
    return 1 if report.checks(found)["wrong"] or not expected else 0


if __name__ == "__main__":
    sys.exit(main())
