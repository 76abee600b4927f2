"""The engine that ships with tokengrpc: a small n-gram model, for development, tests and demos.

It needs no network and no weights. At start it learns one short guide to token streaming, and it can talk
about nothing else. But its sampling is real: temperature, top_p, top_k, min_p, penalties, bias, seed and stop
sequences work as in the contract, and it returns logprobs, token ids and bytes of o200k_base.

- Logprobs are the model's own: at temperature 1, before penalties, bias and truncation.
- `max_output_token_count` defaults to 256, `temperature` to 0.6.
- The end mark is a token: it has an id (199999), no text, and is counted in the output.
- A continuation begins where the earlier run stopped. The earlier output is input in its usage, and counts
  against the default of `max_output_token_count`. A continuation by token ids with a seed is exact.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from typing import TYPE_CHECKING

from tokengrpc.core.model import Capability
from tokengrpc.engines.builtin.guide import learn
from tokengrpc.engines.builtin.run import NgramRun
from tokengrpc.tokenizers.tiktoken import load

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Sequence

    from tokengrpc.core.model import Delta
    from tokengrpc.core.ports.engine import Continuation, Tokenizer
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.engines.builtin.settings import BuiltinSettings

# Tokens after which other tasks run when there is no pace. They take well under a millisecond.
_BATCH = 32


def _any_seed() -> int:
    return secrets.randbits(63)


class BuiltinEngine:
    """An `Engine` over the n-gram model. `new_seed` makes the seed of a request that has none."""

    kind = "builtin"
    capabilities = frozenset(
        {
            Capability.PROMPT,
            Capability.CONVERSATION,
            Capability.PROMPT_TOKEN_IDS,
            Capability.LOGPROBS,
            Capability.TOKEN_IDS,
            Capability.RAW_BYTES,
            Capability.CONTINUE_TOKEN_IDS,
            Capability.CONTINUE_TEXT,
        }
    )

    def __init__(
        self,
        name: str,
        *,
        pace: float = 0.0,
        context_token_count: int = 0,
        missing: Collection[Capability] = (),
        new_seed: Callable[[], int] = _any_seed,
    ) -> None:
        self.name = name
        self.capabilities = BuiltinEngine.capabilities.difference(missing)
        self._pace = pace
        self._context = context_token_count
        self._new_seed = new_seed
        self._started = False

    @property
    def healthy(self) -> bool | None:
        """True once the model is trained, as the engine cannot fail after that; None before."""
        return self._started or None

    async def start(self) -> None:
        """Trains the model on a thread. Takes about half a second, once per process."""
        await asyncio.to_thread(learn)
        self._started = True

    async def close(self) -> None:
        """Marks the engine as stopped. There is nothing to release."""
        self._started = False

    async def generate(
        self, request: GenerationRequest, continue_from: Continuation | None = None
    ) -> AsyncGenerator[Sequence[Delta], None]:
        """Runs a request: an empty batch first, then one delta per token.

        Raises InvalidRequest for token ids that are not in the vocabulary, and ContextLengthExceeded for an
        input that fills the context.
        """
        # On a thread, because tokenizing a long prompt takes milliseconds.
        run = await asyncio.to_thread(self._prepare, request, continue_from)
        yield ()
        deltas = run.deltas()
        if self._pace > 0:
            loop = asyncio.get_running_loop()
            start_time = loop.time()
            for number, delta in enumerate(deltas, 1):
                # Relative to the start, so that delays do not add up.
                await asyncio.sleep(start_time + number / self._pace - loop.time())
                yield (delta,)
        else:
            while batch := tuple(itertools.islice(deltas, _BATCH)):
                yield batch
                await asyncio.sleep(0)

    def _prepare(self, request: GenerationRequest, continue_from: Continuation | None) -> NgramRun:
        seed = request.sampling.seed
        return NgramRun(
            request,
            continue_from,
            guide=learn(),
            tokenizer=load("o200k_base", exact=True),
            seed=self._new_seed() if seed is None else seed,
            context_token_count=self._context,
        )


def create(settings: BuiltinSettings, tokenizer: Tokenizer | None) -> BuiltinEngine:  # noqa: ARG001 - all engine factories have the same arguments; the vocabulary is always o200k_base
    """Creates a model's engine; the factory of the entry point `builtin`."""
    return BuiltinEngine(
        settings.name,
        pace=settings.pace,
        context_token_count=settings.context_token_count,
        missing=settings.missing_capabilities,
    )
