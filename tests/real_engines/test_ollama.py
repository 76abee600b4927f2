"""Ollama cuts an input that exceeds its context without a word to its caller: the usage record says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.real_engines.ollama import OLLAMA

if TYPE_CHECKING:
    from tests.real_engines.bench import Bench
    from tests.real_engines.kind import Kind


def runs_on(kind: Kind) -> bool:
    """Returns whether these cases are for this engine."""
    return kind is OLLAMA


async def test_an_input_that_was_cut_is_recorded(bench: Bench):
    short = await bench.stream(prompt="word " * 8)
    long = await bench.stream(prompt="word " * 2 * bench.kind.context)
    assert short.code.name == long.code.name == "OK", long.message
    assert long.messages[-1].usage.input_token_count <= bench.kind.context
    assert [record.input_is_cut for record in bench.server.ledger.records.values()] == [False, True]
