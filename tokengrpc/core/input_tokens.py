"""Input tokens of a request, counted with the tokenizer of its model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokengrpc.core.model import UsageSource

if TYPE_CHECKING:
    from tokengrpc.core.catalog import ServedModel
    from tokengrpc.core.request import GenerationRequest

_CHARACTERS_PER_TOKEN = 4


def input_length(request: GenerationRequest) -> int:
    """Returns the number of characters to count: shows whether counting would block the event loop."""
    messages = (message.length for message in request.messages or ())
    tools = (len(t.name) + len(t.description) + len(t.parameters_json_schema) for t in request.tools)
    return len(request.prompt or "") + sum(messages) + sum(tools)


def estimate_input(request: GenerationRequest) -> int:
    """Estimates the input tokens of a request without a tokenizer."""
    if request.prompt_token_ids is not None:
        return len(request.prompt_token_ids)
    return input_length(request) // _CHARACTERS_PER_TOKEN


def count_input(request: GenerationRequest, model: ServedModel) -> int:
    """Counts the input tokens that a request is billed for. Takes time proportional to the input."""
    if request.prompt_token_ids is not None:
        return len(request.prompt_token_ids)
    if request.messages is not None:
        return model.tokenizer.count_input(request.messages, request.tools)
    tools = model.tokenizer.count_input((), request.tools) if request.tools else 0
    return model.tokenizer.count(request.prompt or "") + tools


def count_source(request: GenerationRequest, model: ServedModel) -> UsageSource:
    """Returns the source of `count_input`: COUNTED with the model's own tokenizer if there are no images."""
    if request.prompt_token_ids is not None:
        return UsageSource.COUNTED
    exact = model.tokenizer.exact and not request.has_image
    return UsageSource.COUNTED if exact else UsageSource.ESTIMATED
