"""What continuations over HTTP have in common: what was generated before counts against the maximum."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from tokengrpc.engines.request_json import unsupported
from tokengrpc.model import Delta, EngineFinish, FinishReason
from tokengrpc.request import Message, Role, TextPart

if TYPE_CHECKING:
    from tokengrpc.interfaces import Continuation, Tokenizer
    from tokengrpc.request import GenerationRequest

# Of everything that cannot be continued.
ELSEWHERE = "this engine; it can only be generated anew"

# The whole output of a continuation that has no token left.
OUT_OF_TOKENS = (Delta(count=0, finish=EngineFinish(reason=FinishReason.MAX_TOKENS, word="length")),)


async def tokens_left(
    request: GenerationRequest, before: Continuation, tokenizer: Tokenizer | None
) -> int | None:
    """How many tokens may still be generated; None without a maximum.

    What has no ids is counted with the tokenizer, off the loop; without one it counts for nothing.
    """
    if request.max_output_token_count is None:
        return None
    if before.token_ids is not None:
        spent = len(before.token_ids)
    else:
        spent = await asyncio.to_thread(tokenizer.count, before.text) if tokenizer is not None else 0
    return max(0, request.max_output_token_count - spent)


def prefilled(request: GenerationRequest, text: str) -> GenerationRequest:
    """The request with the assistant's answer begun. Raises UnsupportedFeature if it was begun before."""
    asked = Message(role=Role.USER, parts=(TextPart(text=request.prompt or ""),))
    messages = (asked,) if request.messages is None else request.messages
    if messages[-1].role is Role.ASSISTANT:
        raise unsupported("an answer that the conversation began itself", ELSEWHERE)
    answer = Message(role=Role.ASSISTANT, parts=(TextPart(text=text),))
    return replace(request, prompt=None, messages=(*messages, answer))
