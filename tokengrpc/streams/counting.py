"""Input tokens of a request, by the tokenizer of its model."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tokengrpc.errors import ContextLengthExceeded
from tokengrpc.model import UsageSource

if TYPE_CHECKING:
    from tokengrpc.catalog import ServedModel
    from tokengrpc.generation import Generation
    from tokengrpc.request import GenerationRequest

_LONG_INPUT = 4_000
"""Characters from which counting costs more than half a millisecond, and so leaves the event loop."""

_COUNTED = ("text", "function_name", "arguments")


def input_length(request: GenerationRequest) -> int:
    """Characters to count: tells whether counting them would keep the event loop busy."""
    parts = (part for message in request.messages or () for part in message.parts)
    tools = (len(t.name) + len(t.description) + len(t.parameters_json_schema) for t in request.tools)
    texts = (len(getattr(part, name, "")) for part in parts for name in _COUNTED)
    return len(request.prompt or "") + sum(texts) + sum(tools)


def count_input(request: GenerationRequest, model: ServedModel) -> int:
    """Input tokens that a request would be billed for; takes time in proportion to the input."""
    if request.prompt_token_ids is not None:
        return len(request.prompt_token_ids)
    if request.messages is not None:
        return model.tokenizer.count_input(request.messages, request.tools)
    tools = model.tokenizer.count_input((), request.tools) if request.tools else 0
    return model.tokenizer.count(request.prompt or "") + tools


def count_source(request: GenerationRequest, model: ServedModel) -> UsageSource:
    """What `count_input` is worth: COUNTED by the model's own tokenizer, which knows no images."""
    if request.prompt_token_ids is not None:
        return UsageSource.COUNTED
    exact = model.tokenizer.exact and not request.has_image
    return UsageSource.COUNTED if exact else UsageSource.ESTIMATED


class InputCount:
    """Counts a generation's input: a short one at once, a long one on a thread while the engine is asked."""

    def __init__(self, generation: Generation, model: ServedModel) -> None:
        self._generation = generation
        self._request = generation.request
        self._model = model
        self._counting: asyncio.Future[int] | None = None

    async def begin(self) -> None:
        """Begins to count, and waits for it where the length decides whether an engine is asked at all.

        Raises ContextLengthExceeded.
        """
        request, model = self._request, self._model
        if request.prompt_token_ids is not None or input_length(request) < _LONG_INPUT:
            self._take(count_input(request, model))
            return
        self._counting = asyncio.get_running_loop().run_in_executor(None, count_input, request, model)
        if model.context_token_count and model.tokenizer.exact:
            await self.end()

    async def end(self) -> None:
        """Waits until it is counted. Raises ContextLengthExceeded."""
        if self._counting is not None:
            self._take(await self._counting)
            self._counting = None

    def _take(self, count: int) -> None:
        model = self._model
        source = count_source(self._request, model)
        if model.context_token_count and source is UsageSource.COUNTED and count >= model.context_token_count:
            raise ContextLengthExceeded(
                f"the input has {count} tokens, model {model.name} takes {model.context_token_count} with the"
                " output: shorten the input",
                metadata={"input_token_count": str(count), "limit": str(model.context_token_count)},
            )
        self._generation.count_input(count, source)
