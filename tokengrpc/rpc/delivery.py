"""A reader's messages → a gRPC stream, or one whole answer."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

from grpc._cython.cygrpc import ExecuteBatchError
from tokenstreaming.v1 import input_pb2, token_stream_pb2

from tokengrpc.rpc.call import Call, CallFailed
from tokengrpc.wire.generation import generation_message

if TYPE_CHECKING:
    from tokengrpc.generations.subscription import Reader
    from tokengrpc.generations.task import Run


async def stream(run: Run, reader: Reader, call: Call) -> None:
    """Writes everything the reader gets, then ends the call as the generation ended.

    Raises CallFailed when the generation ended badly, TokenGrpcError when only this stream did.
    """
    write = call.context.write
    now = asyncio.get_running_loop().time
    with reader:
        try:
            while (message := await reader.next()) is not None:
                reader.write_began = reader.last_sent = now()
                await write(message)
                reader.write_began = None
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
    thoughts: list[input_pb2.ReasoningPart] = []
    begin = 0  # of the reasoning that is in no part yet
    refusal: list[str] = []
    calls: dict[int, input_pb2.ToolCall] = {}
    arguments: defaultdict[int, list[str]] = defaultdict(list)
    with reader:
        while (data := await reader.next()) is not None:
            message = token_stream_pb2.StreamTokensResponse.FromString(data)
            for token in message.tokens:
                text.append(token.text)
                reasoning.append(token.reasoning_text)
                if token.reasoning_opaque:
                    thought = "".join(reasoning[begin:])
                    thoughts.append(input_pb2.ReasoningPart(text=thought, opaque=token.reasoning_opaque))
                    begin = len(reasoning)
                refusal.append(token.refusal_text)
            for fragment in message.tool_call_fragments:
                call = calls.setdefault(fragment.call_index, input_pb2.ToolCall())
                call.id = call.id or fragment.id
                call.function_name = call.function_name or fragment.function_name
                arguments[fragment.call_index].append(fragment.arguments_fragment)
    _raise_end(run, reader)
    for index, call in calls.items():
        call.arguments = "".join(arguments[index])
    if rest := "".join(reasoning[begin:]):
        thoughts.append(input_pb2.ReasoningPart(text=rest))
    return token_stream_pb2.GenerateTextResponse(
        text="".join(text),
        reasoning_text="".join(reasoning),
        refusal_text="".join(refusal),
        tool_calls=[calls[index] for index in sorted(calls)],
        generation=generation_message(run),
        reasoning_parts=thoughts,
    )


def _raise_end(run: Run, reader: Reader) -> None:
    if reader.failure is not None:
        raise reader.failure
    ending = run.generation.ending
    if ending is not None and ending.error is not None:
        raise CallFailed(ending.error)
