"""What continuations over HTTP have in common: an answer that was begun."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tokengrpc.core.request import Message, Role, TextPart
from tokengrpc.engines.request_json import unsupported

if TYPE_CHECKING:
    from tokengrpc.core.request import GenerationRequest

# Of everything that cannot be continued.
ELSEWHERE = "this engine; it can only be generated anew"


def prefilled(request: GenerationRequest, text: str) -> GenerationRequest:
    """The request with the assistant's answer begun. Raises UnsupportedFeature if it was begun before."""
    asked = Message(role=Role.USER, parts=(TextPart(text=request.prompt or ""),))
    messages = (asked,) if request.messages is None else request.messages
    if messages[-1].role is Role.ASSISTANT:
        raise unsupported("an answer that the conversation began itself", ELSEWHERE)
    answer = Message(role=Role.ASSISTANT, parts=(TextPart(text=text),))
    return replace(request, prompt=None, messages=(*messages, answer))
