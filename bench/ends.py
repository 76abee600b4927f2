"""A client that records when and how each of its streams ended, and the figures of all streams."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from rich.table import Table
from tokenstreaming.v1 import generation_pb2, token_stream_pb2_grpc
from tokenstreaming.v1 import token_stream_pb2 as pb

_CONNECTIONS = 4


@dataclass(kw_only=True)
class End:
    """The end of one stream at its client. Times are those of the loop."""

    start: float
    first_token: float = 0.0
    end: float = 0.0
    code: str = ""
    reason: str = ""
    clock: str = ""
    finish_reason: str = ""
    after_end: int = 0


@dataclass
class Figures:
    """The figures of a scenario's streams, in milliseconds after they were due. Negative means before."""

    name: str
    streams: int
    target_ms: float
    late_ms: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    after_end: int = 0
    waited_ms: float = 0.0
    """How long the main threads of server and client waited for a core.

    The machine's share of the lateness.
    """

    @property
    def p99(self) -> float:
        """The p99 of all streams."""
        return quantiles(self.late_ms, n=100, method="inclusive")[98]


class Client:
    """Streams over a few connections."""

    def __init__(self, target: str) -> None:
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
        self._channels = [grpc.aio.insecure_channel(target, options=options) for _ in range(_CONNECTIONS)]
        self._stubs = [token_stream_pb2_grpc.TokenStreamStub(channel) for channel in self._channels]
        self._random = random.Random(1)

    async def connect(self) -> None:
        """Waits until all connections are established, so that no stream's time includes that."""
        await asyncio.gather(*(channel.channel_ready() for channel in self._channels))

    async def close(self) -> None:
        """Closes the connections."""
        await asyncio.gather(*(channel.close() for channel in self._channels))

    async def read(self, request: pb.StreamTokensRequest, timeout: float | None = None) -> End:
        """Reads one stream to its end."""
        end = End(start=asyncio.get_running_loop().time())
        await _follow(self._random.choice(self._stubs).StreamTokens(request, timeout=timeout), end)
        return end

    async def read_over_a_drop(self, request: pb.StreamTokensRequest, timeout: float) -> End:
        """Reads a stream whose first call is dropped half way. The second call has the remaining time."""
        now = asyncio.get_running_loop().time
        end = End(start=now())
        call = self._random.choice(self._stubs).StreamTokens(request, timeout=timeout)
        sequence = 0
        while now() < end.start + timeout / 2:
            sequence = (await call.read()).sequence
        call.cancel()
        rest = pb.ResumeTokensRequest(generation_id=request.generation_id, after_sequence=sequence)
        left = end.start + timeout - now()
        await _follow(self._random.choice(self._stubs).ResumeTokens(rest, timeout=left), end)
        return end


async def _follow(call: Any, end: End) -> None:
    now = asyncio.get_running_loop().time
    try:
        while (message := await call.read()) is not grpc.aio.EOF:
            end.after_end += bool(end.finish_reason)
            if message.tokens and not end.first_token:
                end.first_token = now()
            if message.HasField("finished"):
                reason = generation_pb2.FinishReason.Name(message.finished.finish_reason)
                end.finish_reason = reason.removeprefix("FINISH_REASON_")
        end.code = "OK"
    except grpc.aio.AioRpcError as error:
        end.code = error.code().name
        status = rpc_status.from_call(error)
        for detail in status.details if status is not None else ():
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info):
                end.reason, end.clock = info.reason, info.metadata.get("clock", "")
    end.end = now()


def table(rows: list[Figures]) -> Table:
    """Returns a table with a row for each scenario."""
    columns = (
        "",
        "streams",
        "late p50 ms",
        "p99 ms",
        "most ms",
        "target ms",
        "waited ms",
        "not as due",
        "after the end",
    )
    shown = Table(*columns, title="Ends at the client, after they were due")
    for row in rows:
        late = (median(row.late_ms), row.p99, max(row.late_ms), row.target_ms, row.waited_ms)
        times = (f"{value:,.1f}" for value in late)
        shown.add_row(row.name, str(row.streams), *times, str(len(row.wrong)), str(row.after_end))
    return shown
