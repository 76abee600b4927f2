"""The end of the context, which engines report like the request's limit, and inputs that they cut."""

from __future__ import annotations

from typing import Any

import pytest
import structlog
from tokenstreaming.v1 import generation_pb2

from tests.support.anthropic_dialect import ANTHROPIC
from tests.support.harness import Outcome, collect, serving, upstream
from tests.support.scripted_engine import Done, Finish, ScriptedEngine, Text, UsageChunk
from tests.support.wire_dialects import OPENAI, VLLM, Dialect


async def run(
    output: int, maximum: int | None, *, dialect: Dialect = OPENAI, reported: int = 7, **request: Any
) -> tuple[Outcome, bool]:
    """Generates `output` tokens up to the engine's limit. Returns the outcome and the record's flag."""
    settings = {"kind": "anthropic", "api": "auto"} if dialect is ANTHROPIC else {}
    if maximum is not None:
        request["max_output_token_count"] = maximum
    async with ScriptedEngine(dialect) as engine:
        engine.script(Text(*["a "] * output), Finish("length"), UsageChunk(reported, output), Done())
        async with serving(upstream(engine.base_url, **settings)) as server:
            outcome = await collect(server.stream(**request))
            (record,) = server.ledger.records.values()
            return outcome, record.input_is_cut


@pytest.mark.parametrize("dialect", [OPENAI, VLLM, ANTHROPIC], ids=lambda d: type(d).__name__)
@pytest.mark.parametrize(
    ("output", "maximum", "reason"),
    [
        (126, 5000, "CONTEXT_LENGTH"),
        (9, 10, "CONTEXT_LENGTH"),
        (10, 10, "MAX_TOKENS"),
        (12, 10, "MAX_TOKENS"),
        (10, None, "MAX_TOKENS"),
    ],
)
async def test_limit_below_the_maximum(dialect: Dialect, output: int, maximum: int | None, reason: str):
    """An engine that stops below the request's maximum has reached the end of its context."""
    outcome, _ = await run(output, maximum, dialect=dialect)
    assert outcome.finished is not None
    name = generation_pb2.FinishReason.Name(outcome.finished.finish_reason)
    assert name == f"FINISH_REASON_{reason}"


@pytest.mark.parametrize(("output", "reason"), [(40, "CONTEXT_LENGTH"), (60, "MAX_TOKENS")])
async def test_output_that_the_engine_does_not_count(output: int, reason: str):
    """Our own count may be wrong, and must be below half of the maximum."""
    async with ScriptedEngine() as engine:
        engine.script(Text(*[" a"] * output), Finish("length"), Done())
        async with serving(upstream(engine.base_url)) as server:
            outcome = await collect(server.stream(max_output_token_count=100))
            assert outcome.finished is not None
            name = generation_pb2.FinishReason.Name(outcome.finished.finish_reason)
            assert name == f"FINISH_REASON_{reason}"


@pytest.mark.parametrize(
    ("sent", "reported", "cut"),
    [(3000, 2048, True), (3000, 2900, False), (3000, 3500, False), (50, 7, False)],
)
async def test_inputs_that_are_cut(sent: int, reported: int, cut: bool):
    """An engine that reports far less input than was sent has cut it: this is logged, and in the record."""
    with structlog.testing.capture_logs() as logs:
        _, flagged = await run(1, None, reported=reported, prompt=" a" * sent)
    assert flagged is cut
    warnings = [entry for entry in logs if "may have cut the input" in entry["event"]]
    assert len(warnings) == cut
    assert all(entry["reported"] == reported for entry in warnings)
