"""Delivery of a subscription's messages, as a gRPC stream or as one response."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

from tokenstreaming.v1 import input_pb2, token_stream_pb2

from tokengrpc.rpc.interceptor import CallFailed
from tokengrpc.wire.generation import generation_message

if TYPE_CHECKING:
    from tokengrpc.generations.readable import ReadableGeneration
    from tokengrpc.generations.subscription import Subscription
    from tokengrpc.rpc.call import RpcCall

_PIECE_BYTES = 16 * 1024
"""Bytes of events that are decoded at once for an answer in one message: about a millisecond."""


async def stream(task: ReadableGeneration, subscription: Subscription, call: RpcCall) -> None:
    """Writes all messages of a subscription, then ends the call as the generation ended.

    Raises CallFailed if the generation failed or was cancelled, or if only this stream failed.
    """
    write = call.write
    now = asyncio.get_running_loop().time
    with subscription:
        try:
            while (message := await subscription.next()) is not None:
                subscription.write_began = subscription.last_sent = now()
                await write(message)
                subscription.write_began = None
        except asyncio.CancelledError:
            if subscription.failure is None:
                raise
            current = asyncio.current_task()
            if current is not None:
                current.uncancel()
    _raise_end(task, subscription)


async def answer(
    task: ReadableGeneration, subscription: Subscription
) -> token_stream_pb2.GenerateTextResponse:
    """Returns the complete response once the generation has ended. Raises the same errors as `stream`."""
    text: list[str] = []
    reasoning: list[str] = []
    reasoning_parts: list[input_pb2.ReasoningPart] = []
    begin = 0  # index of the first reasoning text that is in no part yet
    refusal: list[str] = []
    calls: dict[int, input_pb2.ToolCall] = {}
    arguments: defaultdict[int, list[str]] = defaultdict(list)
    with subscription:
        while (data := await subscription.next(_PIECE_BYTES)) is not None:
            if len(data) >= _PIECE_BYTES // 2:
                await asyncio.sleep(0)  # `next` does not suspend while there is something to read
            message = token_stream_pb2.StreamTokensResponse.FromString(data)
            for token in message.tokens:
                text.append(token.text)
                reasoning.append(token.reasoning_text)
                if token.reasoning_opaque:
                    part = input_pb2.ReasoningPart(
                        text="".join(reasoning[begin:]), opaque=token.reasoning_opaque
                    )
                    reasoning_parts.append(part)
                    begin = len(reasoning)
                refusal.append(token.refusal_text)
            for fragment in message.tool_call_fragments:
                call = calls.setdefault(fragment.call_index, input_pb2.ToolCall())
                call.id = call.id or fragment.id
                call.function_name = call.function_name or fragment.function_name
                call.opaque = fragment.opaque or call.opaque
                arguments[fragment.call_index].append(fragment.arguments_fragment)
    _raise_end(task, subscription)
    for index, call in calls.items():
        call.arguments = "".join(arguments[index])
    if rest := "".join(reasoning[begin:]):
        reasoning_parts.append(input_pb2.ReasoningPart(text=rest))
    return token_stream_pb2.GenerateTextResponse(
        text="".join(text),
        reasoning_text="".join(reasoning),
        refusal_text="".join(refusal),
        tool_calls=[calls[index] for index in sorted(calls)],
        generation=generation_message(task.snapshot()),
        reasoning_parts=reasoning_parts,
    )


def _raise_end(task: ReadableGeneration, subscription: Subscription) -> None:
    if subscription.failure is not None:
        raise CallFailed(subscription.failure)
    termination = task.snapshot().termination
    if termination is not None and termination.error is not None:
        raise CallFailed(termination.error)
