"""The real server, which prints each second how long its loop and its collector paused, and its memory."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import time
from pathlib import Path
from resource import getpagesize

from bench.machine import run_delay_seconds
from tokengrpc import process, server
from tokengrpc.config import LimitSettings, Settings, model_settings

_TICK_S = 0.002
_SAMPLE_S = 1.0


class Probe:
    """Timer of the server's loop that measures how late it fires, and how long collections take.

    `pause_ms` is the longest CPU time of the loop's thread between two ticks: for so long, the loop was busy
    with something else. `lag_ms` is the longest time by which a tick was late. It is longer where the process
    had to wait for a core. Collections are in milliseconds by their generation: the number, and the longest.
    """

    def __init__(self, watched: server.Server) -> None:
        self._server = watched
        self._loop = asyncio.get_running_loop()
        self._began = time.monotonic()
        self._reset()
        self._expected, self._cpu = self._loop.time(), time.thread_time()
        self._sampled = self._began
        self._collection = 0.0
        gc.callbacks.append(self._collected)
        self._loop.call_soon(self._tick)

    def _reset(self) -> None:
        self._pause = self._lag = 0.0
        self._collections = [[0, 0.0] for _ in range(3)]

    def _tick(self) -> None:
        now, cpu = self._loop.time(), time.thread_time()
        self._lag = max(self._lag, now - self._expected)
        self._pause = max(self._pause, cpu - self._cpu)
        if time.monotonic() - self._sampled >= _SAMPLE_S:
            self._print()
        self._expected, self._cpu = self._loop.time() + _TICK_S, time.thread_time()
        self._loop.call_later(_TICK_S, self._tick)

    def _collected(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._collection = time.thread_time()
            return
        kind = self._collections[info["generation"]]
        kind[0] += 1
        kind[1] = max(kind[1], (time.thread_time() - self._collection) * 1e3)

    def _print(self) -> None:
        self._sampled = time.monotonic()
        tasks = list(self._server.registry)
        sample = {
            "seconds": round(self._sampled - self._began, 1),
            "pause_ms": round(self._pause * 1e3, 2),
            "lag_ms": round(self._lag * 1e3, 2),
            "collections": [[count, round(longest, 2)] for count, longest in self._collections],
            "rss_mib": round(int(Path("/proc/self/statm").read_text().split()[1]) * getpagesize() / 2**20, 2),
            "blocks": sys.getallocatedblocks(),
            "kept": len(tasks),
            "log_mib": round(self._server.buffers.used_bytes / 2**20, 2),
            "cpu_seconds": round(time.process_time(), 2),
            "waited_seconds": round(run_delay_seconds("self"), 2),
        }
        print(f"sample {json.dumps(sample)}", flush=True)
        self._reset()


class Probed(server.Server):
    """A server with a probe."""

    async def start(self) -> None:
        """Starts, then probes."""
        await super().start()
        Probe(self)


def main() -> None:
    """Serves one model on the engine at --base-url."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--replay-ttl", type=float, required=True)
    parser.add_argument("--data-dir", default="")
    arguments = parser.parse_args()
    process.Server = Probed  # type: ignore[misc] - `run` makes this one
    model = model_settings(name="bench", kind="openai", base_url=arguments.base_url, api="chat")
    limits = LimitSettings(replay_ttl=arguments.replay_ttl, min_generations=100_000)
    process.run(
        Settings(
            listen="127.0.0.1:0",
            models=(model,),
            limits=limits,
            log_level="warning",
            data_dir=arguments.data_dir,
            ledger_outage="strict",
        )
    )


if __name__ == "__main__":
    main()
