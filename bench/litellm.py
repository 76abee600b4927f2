"""LiteLLM's proxy and tokengrpc, by turns before the same scripted engine: CPU µs a paced token.

LiteLLM's proxy relays HTTP and server-sent events, so it is read as such, not by gRPC. The load is lighter
than that of `bench.run`, which it cannot hold on a core. Needs LiteLLM, at the version and in the place of
tools/install_engines.sh, and says so where it is missing. Takes about two minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import aiohttp
import uvloop
from rich.console import Console
from rich.table import Table

from bench import machine
from bench.machine import cpu_seconds
from bench.pair import servers
from bench.run import ROOT, Bench, environment
from bench.script import MODEL, Script, without_stamps

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROGRAM = ROOT / ".tools" / "engines" / "litellm" / "bin" / "litellm"
LITELLM, OURS = "LiteLLM's proxy, SSE", "tokengrpc, gRPC"
_STREAMS, _RATE = 20, 10.0
_RAMP_S, _SETTLE_S, _WINDOW_S, _END_S = 1.0, 1.0, 3.0, 1.0
_JOB = {"mode": "paced", "stamp_every": 25, "windows": 1, "window_s": _WINDOW_S, "ramp_s": _RAMP_S}
_START_LIMIT_S = 120.0
Cost = tuple[float, float]
"""CPU µs a token, and the tokens delivered a second."""

_VARIABLES = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    # It listens on loopback only, during the run.
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
}


@contextlib.contextmanager
def proxy(engine_url: str) -> Iterator[tuple[str, int]]:
    """Runs LiteLLM's proxy. Yields its URL and its process id."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    entry = {"model": f"openai/{MODEL}", "api_base": engine_url, "api_key": "none"}
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder, "litellm.yaml")
        settings.write_text(json.dumps({"model_list": [{"model_name": MODEL, "litellm_params": entry}]}))
        flags = ["--host", "127.0.0.1", "--port", str(port), "--config", str(settings)]
        with Path(folder, "output").open("wb") as output:
            process = subprocess.Popen(
                [str(_PROGRAM), *flags],
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment() | _VARIABLES | {"PYTHONPATH": ""},
            )
        try:
            yield f"http://127.0.0.1:{port}/v1", process.pid
        finally:
            process.terminate()
            process.wait()


async def ready(url: str) -> None:
    """Returns when the proxy answers. Raises TimeoutError."""
    async with asyncio.timeout(_START_LIMIT_S), aiohttp.ClientSession() as session:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"{url}/models") as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.5)


async def paced(url: str, pid: int) -> Cost:
    """Returns the cost of a token of the proxy. Raises RuntimeError if a stream is wrong."""
    tokens = 0

    async def one(session: aiohttp.ClientSession, start_s: float) -> None:
        nonlocal tokens
        await asyncio.sleep(start_s)
        count = round((_RAMP_S + _SETTLE_S + _WINDOW_S + _END_S - start_s) * _RATE)
        script = Script(tokens=count, rate=_RATE, phase=random.random(), stamp_every=25)
        message = {"role": "user", "content": script.prompt()}
        body = {"model": MODEL, "messages": [message], "stream": True}
        text = ""
        async with session.post(f"{url}/chat/completions", json=body) as response:
            async for line in response.content:
                if line.startswith(b"data: {"):
                    for choice in json.loads(line[6:])["choices"]:
                        piece = choice["delta"].get("content") or ""
                        tokens += bool(piece)
                        text += piece
        if without_stamps(text) != script.plain_text(count):
            raise RuntimeError("LiteLLM's proxy delivered another text than the engine had sent")

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        starts = [_RAMP_S * (number + random.random()) / _STREAMS for number in range(_STREAMS)]
        streams = asyncio.gather(*(one(session, start) for start in starts))
        await asyncio.sleep(_RAMP_S + _SETTLE_S)
        before, cpu, began = tokens, cpu_seconds(pid), time.monotonic()
        await asyncio.sleep(_WINDOW_S)
        spent, found, took = cpu_seconds(pid) - cpu, tokens - before, time.monotonic() - began
        await streams
    return spent / max(found, 1) * 1e6, found / took


def main() -> int:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=4)
    rounds = parser.parse_args().rounds
    if not _PROGRAM.exists():
        print("LiteLLM is not installed: not measured; run `tools/install_engines.sh litellm`")
        return 0
    before = machine.facts()["loadavg"][0]
    costs: dict[str, list[Cost]] = {OURS: [], LITELLM: []}
    with (
        servers({"tokengrpc": ()}) as (engine, relays),
        proxy(f"http://{engine.address}/v1") as (url, pid),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        bench = Bench(engine, relays, lambda _: None)
        runner.run(ready(url))
        runner.run(paced(url, pid))  # the first calls load what the others need
        for seed in range(1, rounds + 1):
            job = _JOB | {"streams": _STREAMS, "rate": _RATE, "seed": seed}
            windows = bench.load("tokengrpc", job)["windows"]
            costs[OURS] += [(window["cpu_us_per_token"], window["tokens_per_s"]) for window in windows]
            costs[LITELLM].append(runner.run(paced(url, pid)))
    table = Table(title=f"CPU µs a token, {_STREAMS} streams of {_RATE:g} tokens a second")
    for heading in ("", "median", "from", "to", "delivered tokens/s"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, found in costs.items():
        spent, rates = zip(*found, strict=True)
        values = (median(spent), min(spent), max(spent), median(rates))
        table.add_row(name, *(f"{value:.0f}" for value in values))
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(table)
    console.print(f"load average {before} before, {machine.facts()['loadavg'][0]} after", style="dim")
    return 0


if __name__ == "__main__":
    sys.exit(main())
