"""A reader's messages → a gRPC stream, or one whole answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from grpc._cython.cygrpc import ExecuteBatchError
from tokenstreaming.v1 import input_pb2, token_stream_pb2

from tokengrpc.errors import TokenGrpcError
from tokengrpc.rpc.call import Call, CallFailed
from tokengrpc.wire.generation import failure_of, final_status, generation_message
from tokengrpc.wire.status import status_of

if TYPE_CHECKING:
    from google.rpc.status_pb2 import Status

    from tokengrpc.streams.reader import Reader
    from tokengrpc.streams.run import Run


async def stream(run: Run, reader: Reader, call: Call) -> None:
    """Writes everything the reader gets, then ends the call as the generation ended.

    Raises CallFailed with the status for anything but a good end.
    """
    write = call.context.write
    now = asyncio.get_running_loop().time
    with reader:
        try:
            while (message := await reader.next()) is not None:
                reader.write_began = reader.last_sent = now()
                await write(message)
                reader.write_began = None
        except TokenGrpcError as error:
            raise CallFailed(_stream_status(run, reader, error)) from error
        except ExecuteBatchError:
            # The caller has gone in the middle of a write (grpc.aio says so with this and not with a
            # cancellation, which follows).
            raise asyncio.CancelledError from None
        except asyncio.CancelledError:
            if reader.failure is None:
                raise
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
    _raise_end(run, reader)


async def answer(run: Run, reader: Reader) -> token_stream_pb2.GenerateTextResponse:
    """Everything at once. Raises as `stream` does."""
    text: list[str] = []
    reasoning: list[str] = []
    refusal: list[str] = []
    calls: dict[int, input_pb2.ToolCall] = {}
    with reader:
        while (data := await _next(run, reader)) is not None:
            message = token_stream_pb2.StreamTokensResponse.FromString(data)
            for token in message.tokens:
                text.append(token.text)
                reasoning.append(token.reasoning_text)
                refusal.append(token.refusal_text)
            for fragment in message.tool_call_fragments:
                call = calls.setdefault(fragment.call_index, input_pb2.ToolCall())
                call.id = call.id or fragment.id
                call.function_name = call.function_name or fragment.function_name
                call.arguments += fragment.arguments_fragment
    _raise_end(run, reader)
    return token_stream_pb2.GenerateTextResponse(
        text="".join(text),
        reasoning_text="".join(reasoning),
        refusal_text="".join(refusal),
        tool_calls=[calls[index] for index in sorted(calls)],
        generation=generation_message(run),
    )


async def _next(run: Run, reader: Reader) -> bytes | None:
    try:
        return await reader.next()
    except TokenGrpcError as error:
        raise CallFailed(_stream_status(run, reader, error)) from error


def _raise_end(run: Run, reader: Reader) -> None:
    if reader.failure is not None:
        raise CallFailed(_stream_status(run, reader, reader.failure))
    status = final_status(run.generation)
    if status is not None:
        raise CallFailed(status)


def _stream_status(run: Run, reader: Reader, error: TokenGrpcError) -> Status:
    """Of a stream that ends by itself: the cursor is what was handed to gRPC, not what arrived."""
    return status_of(error, failure_of(run.generation, ended=run.done, last_sequence=reader.cursor))
