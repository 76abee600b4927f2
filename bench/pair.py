"""Two servers that differ in one thing, before one engine and under the same load, by turns."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from bench.run import EVERYBODY, Bench, Server, relay_commands, summary

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROUNDS = 4


@contextlib.contextmanager
def servers(
    options: Mapping[str, Sequence[str]], modules: Mapping[str, str] | None = None
) -> Iterator[tuple[Server, dict[str, Server]]]:
    """Starts the engine, and a server with each of the options, by name; `modules` has other programs."""
    with contextlib.ExitStack() as stack:

        def start(name: str, arguments: list[str]) -> Server:
            server = Server(name, arguments, EVERYBODY)
            stack.callback(server.stop)
            return server

        engine = start("the engine", ["-m", "bench.engine", "--listen", "127.0.0.1:0"])
        _, program, *command = relay_commands(f"http://{engine.address}/v1")["tokengrpc"]
        programs = dict.fromkeys(options, program) | dict(modules or {})
        yield (
            engine,
            {name: start(name, ["-m", programs[name], *command, *more]) for name, more in options.items()},
        )


def figures(bench: Bench, jobs: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns the figures of both servers, each with its job. Rounds alternate: machines' speed varies."""
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in jobs}
    for round_number in range(ROUNDS):
        for name in jobs if round_number % 2 else reversed(jobs):
            results[name].append(bench.load(name, jobs[name] | {"seed": round_number + 1}))
    return {name: summary(results[name], jobs[name]) for name in jobs}
