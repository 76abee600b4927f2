"""A crowd of callers in one process: many streams over raw stubs. Prints the outcomes and times as JSON."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
import uvloop
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tokenstreaming.v1 import token_stream_pb2 as pb

from bench.gaps import Lag, Percentiles
from bench.reader import Caller
from bench.script import Script

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a crowd does: `calls` streams of a script."""

    target: str
    calls: int
    begin: float
    """Of CLOCK_MONOTONIC, so that the crowds of several processes begin together."""
    ramp_s: float = 0.0
    """The calls start at random within these seconds; 0: all at one moment."""
    tokens: int
    rate: float = 0.0
    timeout: float | None = None
    connections: int = 10
    seed: int = 1

    def script(self, chance: random.Random) -> Script:
        """Returns the script of a call, with a phase of its own."""
        phase = chance.random() if self.rate else 0.0
        return Script(tokens=self.tokens, rate=self.rate, phase=phase, stamp_every=self.tokens + 1, seed=1)


@dataclass
class Outcomes:
    """How calls ended. Times are in seconds."""

    completed: int = 0
    refused_after: list[float] = field(default_factory=list)
    """From a call to its end with OVERLOADED."""
    delays: list[float] = field(default_factory=list)
    """The delays that RetryInfo told of those."""
    causes: Counter[str] = field(default_factory=Counter)
    """Their causes."""
    bare: Counter[str] = field(default_factory=Counter)
    """Calls without `finished` and without a reason, by code: gRPC ended them, not the server."""
    others: Counter[str] = field(default_factory=Counter)
    first_tokens: list[float] = field(default_factory=list)

    def end(self, end: End, seconds: float) -> None:
        """Counts the end of a call."""
        if end.code == "OK" and end.finished:
            self.completed += 1
        elif end.reason == "OVERLOADED" and end.delay is not None:
            self.refused_after.append(seconds)
            self.delays.append(end.delay)
            self.causes[end.cause] += 1
        elif end.finished or end.reason:
            self.others[f"{end.code} {end.reason}".strip()] += 1
        else:
            self.bare[end.code] += 1


@dataclass
class End:
    """The end of a call."""

    code: str = "OK"
    reason: str = ""
    cause: str = ""
    delay: float | None = None
    finished: bool = False

    def take(self, error: grpc.aio.AioRpcError) -> None:
        """Takes the code and the details of an error."""
        self.code = error.code().name
        status = rpc_status.from_call(error)
        for detail in status.details if status is not None else ():
            info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
            if detail.Unpack(info):
                self.reason, self.cause = info.reason, info.metadata["cause"]
            elif detail.Unpack(retry):
                self.delay = retry.retry_delay.ToTimedelta().total_seconds()


class Crowd:
    """The calls of one job."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._caller = Caller(job.target, job.connections)
        self._chance = random.Random(job.seed)
        self._outcomes = Outcomes()
        self._gaps = Percentiles()
        self._lag = Lag()

    async def run(self) -> dict[str, Any]:
        """Runs the job and returns its figures."""
        job = self._job
        await self._caller.connect()
        await asyncio.sleep(job.begin - time.monotonic())
        lag = asyncio.create_task(self._lag.watch())
        starts = [self._chance.random() * job.ramp_s for _ in range(job.calls)]
        await asyncio.gather(*(self._one(start) for start in starts))
        lag.cancel()
        await self._caller.close()
        return {**vars(self._outcomes), "gaps": self._gaps.counts, "lag": self._lag.times.counts}

    async def _one(self, start: float) -> None:
        if start:
            await asyncio.sleep(start)
        began = time.monotonic()
        call = self._caller.open(self._job.script(self._chance), self._job.timeout)
        end, last = End(), 0.0
        try:
            async for data in call:
                message = pb.StreamTokensResponse.FromString(data)
                end.finished = end.finished or message.HasField("finished")
                if message.tokens:
                    now = time.monotonic()
                    if last:
                        self._gaps.add(now - last)
                    else:
                        self._outcomes.first_tokens.append(now - began)
                    last = now
        except grpc.aio.AioRpcError as error:
            end.take(error)
        self._outcomes.end(end, time.monotonic() - began)


async def run(job: Job) -> dict[str, Any]:
    """Runs on the loop, because grpc.aio's channels belong to the loop that creates them."""
    return await Crowd(job).run()


def main(run: Callable[[Job], Coroutine[Any, Any, dict[str, Any]]], description: str | None) -> None:
    """Runs the job that the command line gives as JSON, and prints its figures."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("job", help="JSON with the fields of Job")
    job = Job(**json.loads(parser.parse_args().job))
    # Garbage collections of the client are not pauses of the server.
    gc.disable()
    figures = json.dumps(uvloop.run(run(job)))
    # Standard output is not buffered here, and Python then drops what does not fit into a pipe at once.
    with open(sys.stdout.fileno(), "w", encoding="utf-8", closefd=False) as whole:
        print(figures, file=whole)


if __name__ == "__main__":
    main(run, __doc__)
