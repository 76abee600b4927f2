"""The server's own count of a generation's input."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tokengrpc.core.input_tokens import count_input, count_source, input_length
from tokengrpc.core.model import UsageSource
from tokengrpc.errors import ContextLengthExceeded

if TYPE_CHECKING:
    from tokengrpc.core.catalog import ServedModel
    from tokengrpc.core.generation import Generation

_LONG_INPUT = 4_000
"""Number of characters from which counting takes more than half a millisecond, and so runs on a thread."""


class InputCount:
    """Count of a generation's input. A long input is counted on a thread while the engine is called."""

    def __init__(self, generation: Generation, model: ServedModel) -> None:
        self._generation = generation
        self._request = generation.request
        self._model = model
        self._counting: asyncio.Future[int] | None = None

    async def begin(self) -> None:
        """Begins to count. Waits for the result if the count is exact and the context length is known.

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
        """Waits for the result. Raises ContextLengthExceeded."""
        if self._counting is not None:
            self._take(await self._counting)
            self._counting = None

    def _take(self, count: int) -> None:
        model = self._model
        source = count_source(self._request, model)
        if model.context_token_count and source is UsageSource.COUNTED and count >= model.context_token_count:
            raise ContextLengthExceeded(
                f"the input has {count} tokens, and model {model.name} takes {model.context_token_count}"
                " including the output: shorten the input",
                metadata={"input_token_count": str(count), "limit": str(model.context_token_count)},
            )
        self._generation.count_input(count, source)
