"""The load client: reads streams through a relay, and prints the results and the relay's CPU time as JSON.

It reads the CPU clocks of the relay and the engine itself, so that tokens and CPU time are read together.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import os
import random
import time
from statistics import median, quantiles
from typing import Any

import aiohttp
import uvloop

from bench.answer import Tally
from bench.machine import cpu_seconds, run_delay_seconds
from bench.reader import Caller
from bench.script import Script
from bench.sse_reader import SseCaller, body

_SETTLE_S = 0.5
_MARGIN_S = 1.0
_START_LIMIT_S = 0.5
_TAIL_LIMIT_S = 3.0


class Window:
    """A period of a run, with the CPU time used and the tokens delivered in it."""

    def __init__(self, tally: Tally, pids: dict[str, int]) -> None:
        self._tally = tally
        self._pids = pids
        self._start = self._marks()
        self._first_latency = len(tally.latencies_us)

    def _marks(self) -> dict[str, float]:
        cpu = {name: cpu_seconds(pid) for name, pid in self._pids.items()}
        delay = run_delay_seconds(self._pids["relay"])
        counts = {"tokens": self._tally.tokens, "messages": self._tally.messages}
        return cpu | counts | {"delay": delay, "time": time.monotonic()}

    def close(self) -> dict[str, float | None]:
        """Returns the figures since the start of the period: microseconds, and shares of a core."""
        spent = {name: value - self._start[name] for name, value in self._marks().items()}
        tokens, seconds = max(spent["tokens"], 1), spent["time"]
        latencies = self._tally.latencies_us[self._first_latency :]
        cuts = quantiles(latencies, n=100) if len(latencies) > 1 else None
        return {
            "cpu_us_per_token": spent["relay"] / tokens * 1e6,
            "tokens_per_s": spent["tokens"] / seconds,
            "tokens_per_message": tokens / max(spent["messages"], 1),
            "latency_p50_us": cuts[49] if cuts else None,
            "latency_p99_us": cuts[98] if cuts else None,
            "relay_cores": spent["relay"] / seconds,
            "relay_waited": spent["delay"] / seconds,
            "engine_cores": spent["engine"] / seconds,
            "client_cores": spent["client"] / seconds,
        }


class Run:
    """One run against one relay."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        self._random = random.Random(job.get("seed", 1))
        self._tally = Tally()
        self._pids = {"relay": job["relay_pid"], "engine": job["engine_pid"], "client": os.getpid()}
        self._caller = (
            SseCaller(job["target"])
            if job.get("sse")
            else Caller(job["target"], job["connections"], job.get("ca_file", ""))
        )

    async def connect(self) -> None:
        """Connects to the relay. Only those that call `burst` need it."""
        await self._caller.connect()

    async def close(self) -> dict[str, Any]:
        """Closes the connections, and returns what was compared with the scripts."""
        await self._caller.close()
        return self._tally.summary()

    async def result(self) -> dict[str, Any]:
        """Runs the job and returns its result."""
        await self._caller.connect()
        modes = {"paced": self._paced, "bursts": self._bursts, "first_token": self._first_token}
        try:
            figures = await modes[self._job["mode"]]()
        finally:
            await self._caller.close()
        return figures | {"check": self._tally.summary()}

    async def _paced(self) -> dict[str, Any]:
        """Starts streams one after another, which all send tokens until the windows are over."""
        job = self._job
        end_s = job["ramp_s"] + _SETTLE_S + job["windows"] * job["window_s"] + _MARGIN_S
        missing, all_started = job["streams"], asyncio.Event()

        def started() -> None:
            nonlocal missing
            missing -= 1
            if missing == 0:
                all_started.set()

        async def one(start_s: float) -> None:
            await asyncio.sleep(start_s)
            script = self._script(tokens=round((end_s - start_s) * job["rate"]), rate=job["rate"])
            await self._caller.read(script, self._tally, started)

        count = job["streams"]
        starts = [job["ramp_s"] * (index + self._random.random()) / count for index in range(count)]
        tasks = [asyncio.create_task(one(start)) for start in starts]
        await asyncio.sleep(job["ramp_s"] + _SETTLE_S)
        # With a relay that is far behind, some streams have no token yet. Its windows do not wait for them.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(all_started.wait(), _START_LIMIT_S)
        windows = []
        for _ in range(job["windows"]):
            window = Window(self._tally, self._pids)
            await asyncio.sleep(job["window_s"])
            if any(task.done() for task in tasks):
                break  # not all streams sent tokens until the end of this window
            windows.append(window.close())
        await self._finish(tasks)
        return {"windows": windows}

    async def _finish(self, tasks: list[asyncio.Task[None]]) -> None:
        """Lets streams end. Those of a relay that is far behind are cancelled."""
        _, late = await asyncio.wait(tasks, timeout=_MARGIN_S + _TAIL_LIMIT_S)
        for task in late:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                self._tally.complain(f"{type(outcome).__name__}: {outcome}")

    async def _bursts(self) -> dict[str, Any]:
        """A few callers, each of which requests one complete answer after another."""
        await self._call(_SETTLE_S)
        windows = [await self.burst(self._job["window_s"]) for _ in range(self._job["windows"])]
        return {"windows": windows}

    async def burst(self, seconds: float, rest_s: float = 0.0) -> dict[str, float | None]:
        """Returns the figures of bursts for some seconds, with what the relay does in a rest after them."""
        window = Window(self._tally, self._pids)
        await self._call(seconds)
        await asyncio.sleep(rest_s)
        return window.close()

    async def _call(self, seconds: float) -> None:
        until = time.monotonic() + seconds

        async def caller() -> None:
            while True:
                await self._caller.read(self._script(tokens=self._job["tokens"]), self._tally)
                if time.monotonic() >= until:
                    return

        await asyncio.gather(*(caller() for _ in range(self._job["streams"])))

    async def _first_token(self) -> dict[str, Any]:
        """Requests short answers one by one, alternating between the engine and the relay."""
        direct, relayed = [], []
        async with aiohttp.ClientSession() as session:
            for index in range(self._job["requests"]):
                # The first token comes after 5 ms, so that no process is still busy with the request.
                script = self._script(tokens=2, rate=200.0, phase=1.0)
                direct_s = await _direct_first_token(session, self._job["engine_url"], script)
                seen: list[float] = []
                start = time.monotonic()
                await self._caller.read(script, self._tally, functools.partial(_note_time, seen))
                if index >= self._job["warm_up"] and seen:
                    direct.append(direct_s)
                    relayed.append(seen[0] - start)
        added = median(relayed) - median(direct)
        return {
            "direct_ms": median(direct) * 1e3,
            "relayed_ms": median(relayed) * 1e3,
            "relayed_p99_ms": quantiles(relayed, n=100)[98] * 1e3,
            "added_ms": added * 1e3,
        }

    def _script(self, *, tokens: int, rate: float = 0.0, phase: float | None = None) -> Script:
        return Script(
            tokens=tokens,
            rate=rate,
            phase=self._random.random() if phase is None else phase,
            seed=self._random.randrange(1000),
            stamp_every=self._job["stamp_every"],
        )


def _note_time(seen: list[float]) -> None:
    seen.append(time.monotonic())


async def _direct_first_token(session: aiohttp.ClientSession, url: str, script: Script) -> float:
    """Returns the seconds from the request to the first token's chunk, without a relay."""
    start = time.monotonic()
    first = None
    async with session.post(f"{url}/chat/completions", json=body(script)) as response:
        async for data in response.content.iter_any():
            if first is None and b'"content":" @' in data:
                first = time.monotonic() - start
    if first is None:
        raise RuntimeError("the engine sent no token")
    return first


async def run(job: dict[str, Any]) -> dict[str, Any]:
    """Runs one job.

    It starts on the loop, because grpc.aio's channels belong to the loop that creates them.
    """
    return await Run(job).result()


def main() -> None:
    """Runs the job given as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", help="JSON: mode, target, relay_pid, engine_pid and the mode's own values")
    job = json.loads(parser.parse_args().job)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(run(job))))


if __name__ == "__main__":
    main()
