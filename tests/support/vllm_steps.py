"""Steps of a scripted server of vLLM's gRPC service."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from google.protobuf.any_pb2 import Any as Packed
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from smg_vllm import vllm_engine_pb2 as pb

from tests.support.scripted_vllm import ids_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc

    from tests.support.fault_steps import CaughtUp
    from tests.support.scripted_vllm import VllmCall


class Accept:
    """Sends the headers, which vLLM sends with the first message."""

    async def run(self, call: VllmCall) -> None:
        await call.context.send_initial_metadata(())


class Say:
    """A chunk for each piece of text, with the piece's tokens."""

    def __init__(self, *pieces: str) -> None:
        self.pieces = pieces

    async def run(self, call: VllmCall) -> None:
        for piece in self.pieces:
            await call.write_chunk(ids_of(piece))


class Ids:
    """One chunk with these tokens, and what logprobs it has of them."""

    def __init__(self, *ids: int, logprobs: pb.OutputLogProbs | None = None) -> None:
        self.ids = ids
        self.logprobs = logprobs

    async def run(self, call: VllmCall) -> None:
        await call.write_chunk(self.ids, self.logprobs)


class End:
    """The message `complete`, as vLLM sends it: its tokens are the last chunk's."""

    def __init__(self, reason: str = "stop", **more: Any) -> None:
        self.reason = reason
        self.more = more

    async def run(self, call: VllmCall) -> None:
        last = call.last or pb.GenerateStreamChunk(prompt_tokens=7)
        complete = {
            "finish_reason": self.reason,
            "output_ids": last.token_ids,
            "prompt_tokens": last.prompt_tokens,
            "completion_tokens": len(last.token_ids),
            "cached_tokens": last.cached_tokens,
            **self.more,
        }
        await call.write(pb.GenerateResponse(complete=pb.GenerateComplete(**complete)))
        call.told_usage = (last.prompt_tokens, call.token_count)


class Message:
    """Any message."""

    def __init__(self, message: pb.GenerateResponse) -> None:
        self.message = message

    async def run(self, call: VllmCall) -> None:
        await call.write(self.message)


class Raw:
    """Bytes that may be no message."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    async def run(self, call: VllmCall) -> None:
        await call.context.write(self.data)


class Fail:
    """Ends the call with a status, with a RetryInfo if there is a delay."""

    def __init__(
        self, code: grpc.StatusCode, message: str = "no", *, retry_after: float | None = None
    ) -> None:
        self.code = code
        self.message = message
        self.retry_after = retry_after

    async def run(self, call: VllmCall) -> None:
        call.finished.set()
        if self.retry_after is None:
            await call.context.abort(self.code, self.message)
        packed, retry = Packed(), error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(round((self.retry_after or 0) * 1000))
        packed.Pack(retry)
        status = status_pb2.Status(code=self.code.value[0], message=self.message, details=[packed])
        await call.context.abort_with_status(rpc_status.to_status(status))


class WhenStarted:
    """Waits until the caller has received the first message, so that the engine's headers have arrived."""

    def __init__(self, caught_up: CaughtUp) -> None:
        self.caught_up = caught_up

    async def run(self, call: VllmCall) -> None:
        while not self.caught_up.message_count:  # noqa: ASYNC110 - the reader is a gRPC client elsewhere
            await asyncio.sleep(0.001)


class UnknownFields:
    """Adds a field that nobody knows to each message from now on."""

    async def run(self, call: VllmCall) -> None:
        call.suffix = b"\x98\x06\x01"  # field 99, a number


class CutConnection:
    """Resets the connection, or closes it regularly."""

    def __init__(self, *, regularly: bool = False) -> None:
        self.regularly = regularly

    async def run(self, call: VllmCall) -> None:
        proxy = call.engine.proxy
        if self.regularly:
            proxy.end()
        else:
            proxy.cut()
        await asyncio.Event().wait()  # until the server notices


class Forever:
    """A step that is repeated until the call ends."""

    def __init__(self, step: Any) -> None:
        self.step = step

    async def run(self, call: VllmCall) -> None:
        while True:
            await self.step.run(call)
            await asyncio.sleep(0.02)


def logprobs(
    ids: Sequence[int], values: Sequence[float], *tops: Sequence[tuple[int, float]]
) -> pb.OutputLogProbs:
    """The logprobs of a chunk, with the alternatives of each token."""
    return pb.OutputLogProbs(
        token_ids=ids,
        token_logprobs=values,
        top_logprobs=[
            pb.TopLogProbs(token_ids=[token for token, _ in top], values=[value for _, value in top])
            for top in tops
        ],
    )
