"""A grpc.aio server without options, to compare with. It plays the script of a prompt itself.

It streams what tokengrpc relays from the benchmark's engine, at the same pace, so that the good client can
read it and compare it. It has no engine, no limits and no log.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import grpc
import uvloop
from tokenstreaming.v1 import generation_pb2
from tokenstreaming.v1 import token_stream_pb2 as pb

from bench.bare import SERVICE, serve
from bench.script import WORDS, Script, stamp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def _stream(
    request: pb.StreamTokensRequest, context: grpc.aio.ServicerContext[Any, Any]
) -> AsyncIterator[pb.StreamTokensResponse]:
    """Handles StreamTokens."""
    try:
        script = Script.parse(request.prompt or "".join(item.text for item in request.conversation.messages))
    except (KeyError, ValueError):
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the prompt is no script")
    yield pb.StreamTokensResponse(sequence=1, started=generation_pb2.Started(generation_id="bare"))
    for index in range(script.tokens):
        if script.rate:
            await asyncio.sleep((1.0 if index else script.phase) / script.rate)
        text = stamp(time.monotonic_ns()) if script.stamped(index) else WORDS[script.word(index)]
        token = generation_pb2.Token(index=index, count=1, text=text)
        yield pb.StreamTokensResponse(sequence=index + 2, tokens=[token])
    finished = generation_pb2.Finished(finish_reason=generation_pb2.FINISH_REASON_END)
    yield pb.StreamTokensResponse(sequence=script.tokens + 2, finished=finished)


async def _refuse(_: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
    """Handles all other methods: it keeps nothing that they could ask for."""
    await context.abort(grpc.StatusCode.NOT_FOUND, "there is nothing of this name")


async def main() -> None:
    """Serves until it is terminated."""
    methods = {method.name: grpc.unary_unary_rpc_method_handler(_refuse) for method in SERVICE.methods}
    methods["StreamTokens"] = grpc.unary_stream_rpc_method_handler(
        _stream,
        request_deserializer=pb.StreamTokensRequest.FromString,
        response_serializer=pb.StreamTokensResponse.SerializeToString,
    )
    await serve(methods)


if __name__ == "__main__":
    uvloop.run(main())
