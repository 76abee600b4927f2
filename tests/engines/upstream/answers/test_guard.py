"""What a request asked for and the engine ignored: stop sequences, a JSON schema, logprobs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tokenstreaming.v1 import generation_pb2, input_pb2, usage_pb2

from tests.support.anthropic_dialect import ANTHROPIC
from tests.support.harness import Outcome, collect, serving, upstream
from tests.support.scripted_engine import Chunk, Done, Drop, Finish, ScriptedEngine, Stall, Text, UsageChunk
from tests.support.wire_dialects import OPENAI, Dialect
from tokengrpc.engines.upstream.answers.checks import mismatch

SCHEMA = json.dumps({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}})
END = (Finish(), UsageChunk(7, 5), Done())
BOTH = pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC], ids=lambda d: type(d).__name__)


async def outcome_of(
    steps: tuple[Any, ...],
    *,
    dialect: Dialect = OPENAI,
    settings: dict[str, Any] | None = None,
    **request: Any,
) -> Outcome:
    of_anthropic = {"kind": "anthropic", "api": "auto"} if dialect is ANTHROPIC else {}
    async with ScriptedEngine(dialect) as engine:
        engine.script(*steps)
        async with serving(upstream(engine.base_url, **of_anthropic, **(settings or {}))) as server:
            return await collect(server.stream(**request))


def stopping(*stops: str) -> dict[str, Any]:
    return {"sampling": input_pb2.Sampling(stop_sequences=stops)}


def finish_of(outcome: Outcome) -> tuple[str, str]:
    assert outcome.finished is not None
    reason = generation_pb2.FinishReason.Name(outcome.finished.finish_reason)
    return reason.removeprefix("FINISH_REASON_"), outcome.finished.matched_stop_sequence


class TestStopSequences:
    """A stop sequence is never part of the answer."""

    @BOTH
    async def test_the_engine_leaves_it_in(self, dialect: Dialect):
        """It is cut, also over several tokens; the engine's usage is the bill."""
        steps = (Text("One", " tw"), Text("o EN"), Text("D"), *END)
        outcome = await outcome_of(steps, dialect=dialect, **stopping("END", "never"))
        assert outcome.text == "One two "
        assert finish_of(outcome) == ("STOP_SEQUENCE", "END")
        assert outcome.messages[-1].usage.source == usage_pb2.USAGE_SOURCE_ENGINE

    @BOTH
    async def test_the_engine_does_not_stop(self, dialect: Dialect):
        """The generation ends although the engine goes on."""
        outcome = await outcome_of(
            (Text("One END"), Text(" more"), Stall()), dialect=dialect, **stopping("END")
        )
        assert outcome.text == "One "
        assert finish_of(outcome) == ("STOP_SEQUENCE", "END")

    @pytest.mark.parametrize(
        "after", [(Stall(),), (Drop(),), (Done(),), ()], ids=["silence", "lost", "mark", "cut"]
    )
    async def test_nothing_follows_the_sequence(self, after: tuple[Any, ...]):
        """The answer is complete, whatever becomes of the connection."""
        settings = {"usage_timeout": 0.05}
        outcome = await outcome_of((Text("One END"), *after), settings=settings, **stopping("END"))
        assert outcome.text == "One "
        assert finish_of(outcome) == ("STOP_SEQUENCE", "END")

    async def test_a_beginning_that_is_none(self):
        """Withheld text is shown when the answer ends, well or with an error."""
        outcome = await outcome_of((Text("One E"), *END), **stopping("END"))
        assert (outcome.text, finish_of(outcome)) == ("One E", ("END", ""))
        outcome = await outcome_of((Text("One E"), Drop()), **stopping("END"))
        assert outcome.text == "One E"
        assert outcome.info is not None
        assert outcome.info.reason == "ENGINE_LOST"


def with_schema(schema: str = SCHEMA) -> dict[str, Any]:
    return {"output_constraint": input_pb2.OutputConstraint(json_schema=schema)}


class TestSchemas:
    """A complete answer that does not match its schema is an error, by setting a warning."""

    @BOTH
    @pytest.mark.parametrize(
        "pieces", [("Sure, ", "here it is"), ('{"a": ', '"x"}'), ("{}",), ("```json\n{}```",)]
    )
    async def test_mismatch(self, dialect: Dialect, pieces: tuple[str, ...]):
        """The caller gets the text and the usage, and an error that quotes none of it."""
        outcome = await outcome_of((Text(*pieces), *END), dialect=dialect, **with_schema())
        assert outcome.info is not None
        assert outcome.info.reason == "ENGINE_PROTOCOL_ERROR"
        assert outcome.text == "".join(pieces)
        assert "here it is" not in outcome.message
        assert outcome.messages[-1].usage.source == usage_pb2.USAGE_SOURCE_ENGINE

    @BOTH
    async def test_match(self, dialect: Dialect):
        """White space around the JSON does no harm."""
        outcome = await outcome_of((Text(' {"a"', ": 5}\n"), *END), dialect=dialect, **with_schema())
        assert finish_of(outcome) == ("END", "")

    async def test_an_answer_that_is_cut(self):
        """An answer that reached its limit is not complete, and says so itself."""
        outcome = await outcome_of((Text('{"a'), Finish("length"), Done()), **with_schema())
        assert finish_of(outcome)[0] == "MAX_TOKENS"

    @pytest.mark.parametrize("setting", ["log", "off"])
    async def test_settings(self, setting: str):
        """The check can be reduced to a warning, or switched off."""
        outcome = await outcome_of((Text("no"), *END), settings={"schema_check": setting}, **with_schema())
        assert finish_of(outcome) == ("END", "")

    @pytest.mark.parametrize(
        "schema",
        [
            {"$ref": "http://127.0.0.1:1/schema.json"},
            {"$ref": "file:///etc/passwd"},
            {"type": "nonsense"},
            {"pattern": "("},
            5,
        ],
    )
    def test_schemas_that_cannot_be_used(self, schema: object):
        """No other document is read; what cannot be checked is not refused."""
        assert mismatch("m", json.dumps(schema), '"a"') is None

    @pytest.mark.parametrize(
        "text", ["NaN", "{", "", "[" * 100_000, '{"a": 5} {"a": 5}', '{"a": 5.5}', "[]", "null"]
    )
    def test_texts_that_do_not_match(self, text: str):
        """Each is told in one line."""
        told = mismatch("m", SCHEMA, text)
        assert told is not None
        assert "\n" not in told

    def test_patterns_that_are_slow_elsewhere(self):
        """Patterns take time in proportion to the text."""
        assert mismatch("m", json.dumps({"pattern": "^(a+)+$"}), json.dumps("a" * 50_000 + "!")) is not None


LOGPROBS = {"output": input_pb2.OutputOptions(top_logprob_count=1)}


class TestLogprobs:
    """Logprobs that were asked for and did not come."""

    async def test_none_came(self):
        """The answer is an error although its text is complete."""
        outcome = await outcome_of((Text("a", "b"), *END), **LOGPROBS)
        assert outcome.info is not None
        assert outcome.info.reason == "ENGINE_PROTOCOL_ERROR"
        assert "logprobs" in outcome.message
        assert outcome.text == "ab"

    async def test_some_came(self):
        """One token without them does no harm."""
        entry = {"token": "a", "logprob": -0.5, "top_logprobs": []}
        choice = {"index": 0, "delta": {"content": "a"}, "logprobs": {"content": [entry]}}
        outcome = await outcome_of((Chunk({"choices": [choice]}, ("a",)), Text("b"), *END), **LOGPROBS)
        assert finish_of(outcome) == ("END", "")

    async def test_an_answer_without_text(self):
        """Servers have none for tool calls."""
        outcome = await outcome_of(END, **LOGPROBS)
        assert finish_of(outcome) == ("END", "")

    async def test_setting(self):
        """By setting, it is logged."""
        outcome = await outcome_of((Text("a"), *END), settings={"logprobs_check": "log"}, **LOGPROBS)
        assert finish_of(outcome) == ("END", "")


IDS = {"output": input_pb2.OutputOptions(include_token_ids=True)}
SENDS_IDS = {"extra_capabilities": ("TOKEN_IDS",)}


class TestTokenIds:
    """An answer without the ids that were asked for is an error after all text."""

    async def test_none_came(self):
        """Of a server whose settings say that it sends them."""
        outcome = await outcome_of((Text("a", "b"), *END), settings=SENDS_IDS, **IDS)
        assert outcome.info is not None
        assert outcome.info.reason == "ENGINE_PROTOCOL_ERROR"
        assert "include_token_ids" in outcome.message
        assert outcome.text == "ab"

    async def test_they_came(self):
        """With the text of their tokens."""
        choice = {"index": 0, "delta": {"content": "a"}, "token_ids": [5]}
        outcome = await outcome_of((Chunk({"choices": [choice]}, ("a",)), *END), settings=SENDS_IDS, **IDS)
        assert finish_of(outcome) == ("END", "")
        assert outcome.tokens[0].id == 5

    async def test_setting(self):
        """By setting, it is logged."""
        settings = {**SENDS_IDS, "ids_check": "log"}
        outcome = await outcome_of((Text("a"), *END), settings=settings, **IDS)
        assert finish_of(outcome) == ("END", "")
