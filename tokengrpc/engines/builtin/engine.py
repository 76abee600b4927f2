"""The engine that ships with tokengrpc: a small n-gram model, for development, tests and demos.

It needs no network and no weights. At start it learns one short guide to token streaming and can talk about
nothing else, but it samples for real: temperature, top_p, top_k, min_p, penalties, bias, seed and stop
sequences as the contract says, and it tells logprobs, token ids and bytes of o200k_base.

- Logprobs are the model's own: at temperature 1, before penalties, bias and truncation.
- The default of `max_output_token_count` is 256, of `temperature` 0.6.
- The end mark is a token: it has an id (199999), no text, and is counted in the output.
- A continuation goes on where the earlier run stopped: what was generated before is input in its usage, and
  counts against the default of `max_output_token_count`. By token ids and with a seed it is exact.
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

# With no pace, the loop gets its turn after this many tokens: well under a millisecond.
_BATCH = 32


def _any_seed() -> int:
    return secrets.randbits(63)


class BuiltinEngine:
    """An `Engine` over the n-gram model. `new_seed` is asked for requests without a seed."""

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
        """True once it has learned; it cannot fail after that."""
        return self._started or None

    async def start(self) -> None:
        """Learns its guide, off the loop. Takes about half a second, once per process."""
        await asyncio.to_thread(learn)
        self._started = True

    async def close(self) -> None:
        """Holds nothing that must be released."""
        self._started = False

    async def generate(
        self, request: GenerationRequest, continue_from: Continuation | None = None
    ) -> AsyncGenerator[Sequence[Delta], None]:
        """Runs a request: an empty batch first, then one delta per token.

        Raises InvalidRequest for token ids that are not in the vocabulary, ContextLengthExceeded for an input
        that fills the context.
        """
        # Off the loop: tokenizing a long prompt takes milliseconds.
        run = await asyncio.to_thread(self._prepare, request, continue_from)
        yield ()
        deltas = run.deltas()
        if self._pace > 0:
            loop = asyncio.get_running_loop()
            begin = loop.time()
            for number, delta in enumerate(deltas, 1):
                # Against a schedule, so that lateness does not add up.
                await asyncio.sleep(begin + number / self._pace - loop.time())
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


def create(settings: BuiltinSettings, tokenizer: Tokenizer | None) -> BuiltinEngine:  # noqa: ARG001 - all engines' factories are called alike; this one's vocabulary is always o200k_base
    """Makes the engine of a model; the factory of the entry point `builtin`."""
    return BuiltinEngine(
        settings.name,
        pace=settings.pace,
        context_token_count=settings.context_token_count,
        missing=settings.missing_capabilities,
    )
