"""When a generation's input is counted: beside the call of the engine, unless the count decides about it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from tests.support.pools import Played
from tokengrpc.core.catalog import ServedModel
from tokengrpc.core.generation import Generation
from tokengrpc.core.pooled_engine import PooledEngine
from tokengrpc.core.request import GenerationRequest
from tokengrpc.core.routing import EnginePool
from tokengrpc.core.termination import Termination
from tokengrpc.errors import Cancelled, ContextLengthExceeded
from tokengrpc.generations.input_count import InputCount

REQUEST = GenerationRequest(prompt="hello world")


@dataclass
class Words:
    """A tokenizer that notes what it counts. A word is a token."""

    exact: bool = True
    counted: list[str] = field(default_factory=list)

    def count(self, text: str) -> int:
        self.counted.append(text)
        return len(text.split())


def counting(words: Words, context: int = 0) -> tuple[InputCount, Generation]:
    model = ServedModel(
        name="m",
        pool=EnginePool([PooledEngine(Played("a", []))]),
        tokenizer=words,
        context_token_count=context,
    )
    generation = Generation(REQUEST, words, 0)
    return InputCount(generation, model), generation


async def test_the_engine_is_called_before_the_count():
    """The count is there in the loop's next turn, or when it is needed, and is made once."""
    words = Words()
    count, generation = counting(words)
    await count.begin()
    assert words.counted == []
    await asyncio.sleep(0)
    await count.end()
    assert (words.counted, generation.usage.input) == (["hello world"], 2)
    await count.begin()
    await count.end()
    await asyncio.sleep(0)
    assert len(words.counted) == 2


async def test_an_input_that_may_be_too_long_is_counted_first():
    """The engine is not called in vain."""
    words = Words()
    count, _ = counting(words, context=2)
    with pytest.raises(ContextLengthExceeded):
        await count.begin()
    assert words.counted == ["hello world"]


async def test_an_ended_generation_counts_no_more():
    """It may have released what counts."""
    words = Words()
    count, generation = counting(words)
    await count.begin()
    generation.end(Termination.failed(Cancelled("gone")), 1)
    generation.release()
    await asyncio.sleep(0)
    assert words.counted == []
