"""Engines that fail as planned, over real gRPC: callers see the documented, repeatable outcome."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from google.rpc import error_details_pb2
from tokenstreaming.v1 import generation_pb2, input_pb2, usage_pb2

from tests.support.harness import (
    Outcome,
    Served,
    check_gapless,
    collect,
    read_until,
    serving,
    until,
    upstream,
)
from tests.support.scripted_engine import (
    Call,
    Done,
    Finish,
    Reasoning,
    Refusal,
    ScriptedEngine,
    Stall,
    Status,
    Text,
    ToolCall,
    UsageChunk,
)
from tests.support.simulator_outcomes import OUTCOMES, STATUS_REASONS
from tests.support.wire_dialects import VLLM
from tokengrpc.config import FaultSettings, ModelSettings, model_settings
from tokengrpc.config.faults import DEFAULTS, ENDS
from tokengrpc.engines.builtin.engine import BuiltinEngine
from tokengrpc.wire.status import CODES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CONDITIONS = {"probability", "seed", "times", "name"}
SEED = {"prompt": "Hello", "max_output_token_count": 12, "sampling": input_pb2.Sampling(seed=7)}
SILENT = {"limits": input_pb2.Limits()}
SILENT["limits"].first_token_timeout.FromMilliseconds(600)
SILENT["limits"].inter_token_timeout.FromMilliseconds(600)


def builtin(**settings: Any) -> ModelSettings:
    return model_settings(name="builtin", **settings)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A server with a model whose requests may have faults."""
    async with serving(builtin(allow_request_faults=True)) as server:
        yield server


async def run(server: Served, faults: dict[str, Any] | None = None, **fields: Any) -> Outcome:
    if faults is not None:
        fields["engine_params"] = {"faults": faults}
    return await collect(server.stream(**{**SEED, **fields}))


def code_and_reason(outcome: Outcome) -> tuple[str, str]:
    return outcome.code.name, outcome.info.reason if outcome.info else ""


def failure(reason: str) -> tuple[str, str]:
    return CODES[reason].name, reason


def token_count(outcome: Outcome) -> int:
    return sum(token.count for token in outcome.tokens)


# Each fault's value, and the tokens that arrive before it ends the output.
BREAKS = {
    "refuse": (True, 0),
    "cut_at_token": (5, 5),
    "cut_at_byte": (1000, None),
    "end_at_token": (5, 5),
    "abort_at_token": (5, 5),
    "error_at_token": (5, 5),
    "malformed_at_token": (5, 5),
    "invalid_utf8_at_token": (5, 5),
    "huge_line_at_token": (5, 5),
}


@pytest.mark.parametrize("fault", BREAKS)
async def test_faults_that_end_an_output(served: Served, fault: str) -> None:
    """The failure of the table follows exactly these tokens, which begin the undisturbed output."""
    value, count = BREAKS[fault]
    undisturbed, broken = await run(served), await run(served, {fault: value})
    assert code_and_reason(broken) == failure(OUTCOMES[fault].reasons[0])
    assert undisturbed.text.startswith(broken.text)
    if count is None:
        assert 0 < token_count(broken) < token_count(undisturbed)
    else:
        assert token_count(broken) == count
    assert (broken.finished is None) == (fault == "refuse")
    check_gapless(broken.messages)
    await until(lambda: served.registry.active == 0)


@pytest.mark.parametrize("fault", [name for name in ENDS if name.endswith(("_token", "_byte"))])
async def test_before_the_first_token(served: Served, fault: str) -> None:
    """At position 0 the engine has accepted the request, and there is no token."""
    broken = await run(served, {fault: 0})
    assert code_and_reason(broken) == failure(OUTCOMES[fault].reasons[0])
    assert (token_count(broken), broken.finished is None) == (0, False)


@pytest.mark.parametrize("status", STATUS_REASONS)
async def test_statuses(served: Served, status: int) -> None:
    """Each status maps to its reason, and Retry-After becomes RetryInfo."""
    refused = await run(served, {"status": status, "retry_after": 7})
    assert code_and_reason(refused) == failure(STATUS_REASONS[status])
    assert refused.messages == []
    retry = refused.detail(error_details_pb2.RetryInfo)
    if STATUS_REASONS[status] == "ENGINE_UNAVAILABLE":
        assert retry.retry_delay.ToTimedelta().total_seconds() == 7


HARMLESS = {
    "connect_delay": 0.05,
    "accept_delay": 0.05,
    "first_token_delay": 0.05,
    "pace": 200,
    "jitter": 0.005,
    "stall_at_token": 3,
    "keep_alive": 0.005,
    "trickle": True,
    "split_characters": True,
    "unknown_fields": True,
    "finish_reason": "length",
    "usage": "twice",
}


@pytest.mark.parametrize("fault", HARMLESS)
@pytest.mark.parametrize("detailed", [False, True], ids=["plain", "detailed"])
async def test_harmless_faults(served: Served, fault: str, detailed: bool) -> None:
    """Tokens, ids, logprobs, usage and finish equal those of the undisturbed output."""
    faults = {fault: HARMLESS[fault]}
    if fault == "stall_at_token":
        faults["stall_time"] = 0.05
    if fault == "keep_alive":
        faults["first_token_delay"] = 0.05
    output = input_pb2.OutputOptions(top_logprob_count=2, include_token_ids=True, include_raw_bytes=True)
    fields = {"output": output} if detailed else {}
    undisturbed, changed = await run(served, **fields), await run(served, faults, **fields)
    assert code_and_reason(changed) == ("OK", "")
    assert [*map(without_time, changed.tokens)] == [*map(without_time, undisturbed.tokens)]
    assert changed.messages[-1].usage == undisturbed.messages[-1].usage
    assert changed.finished.finish_reason == undisturbed.finished.finish_reason


def without_time(token: generation_pb2.Token) -> generation_pb2.Token:
    token.ClearField("emit_time")
    return token


async def test_an_answer_is_slowed_down(served: Served) -> None:
    """The first token is delayed, and the tokens arrive at the pace."""
    slow = await run(served, {"pace": 100, "first_token_delay": 0.1})
    timing = slow.finished.timing
    assert timing.time_to_first_token.ToNanoseconds() >= 0.1e9
    assert timing.total_duration.ToNanoseconds() >= 0.1e9 + token_count(slow) / 100 * 1e9


@pytest.mark.parametrize(
    ("faults", "clock", "count"),
    [
        ({"accept_delay": 60}, "first_token", 0),
        ({"first_token_delay": 60}, "first_token", 0),
        ({"first_token_delay": 60, "keep_alive": 0.02}, "first_token", 0),
        ({"stall_at_token": 0}, "first_token", 0),
        ({"stall_at_token": 4}, "inter_token", 4),
        ({"stall_at_token": 4, "keep_alive": 0.02}, "inter_token", 4),
    ],
)
async def test_silence(served: Served, faults: dict[str, Any], clock: str, count: int) -> None:
    """With and without comments, the failure names the clock and follows the tokens so far."""
    silent = await run(served, faults, **SILENT)
    assert code_and_reason(silent) == failure("ENGINE_STALLED")
    assert (silent.info.metadata["clock"], token_count(silent)) == (clock, count)
    await until(lambda: served.registry.active == 0)


async def test_a_connection_that_is_not_made(served: Served) -> None:
    """The failure names the connect clock, for the request's timeout and for the engine's."""
    limits = input_pb2.Limits()
    limits.connect_timeout.FromMilliseconds(100)
    late = await run(served, {"connect_delay": 60}, limits=limits)
    assert code_and_reason(late) == failure("ENGINE_UNAVAILABLE")
    assert (late.info.metadata["clock"], late.messages) == ("connect", [])
    async with serving(builtin(connect_timeout=0.1, faults=FaultSettings(connect_delay=60))) as server:
        assert code_and_reason(await run(server)) == failure("ENGINE_UNAVAILABLE")


async def test_finish_reasons_and_usage(served: Served) -> None:
    """An unknown reason is OTHER, `abort` is a failure, and missing usage is counted by the server."""
    unknown = await run(served, {"finish_reason": "bored"})
    assert unknown.finished.finish_reason == generation_pb2.FINISH_REASON_OTHER
    assert unknown.finished.engine_finish_reason == "bored"
    assert code_and_reason(await run(served, {"finish_reason": "abort"})) == failure("ENGINE_ABORTED")
    uncounted = await run(served, {"usage": "none"})
    assert code_and_reason(uncounted) == ("OK", "")
    assert uncounted.messages[-1].usage.source != usage_pb2.USAGE_SOURCE_ENGINE


async def test_characters_split_across_tokens(engine: ScriptedEngine) -> None:
    """Characters of all sizes, split at every position, arrive complete."""
    model = upstream(engine.base_url, faults=FaultSettings(split_characters=True))
    engine.script(
        Text("é", "…", "🦜🐢"), Text(" 𝄞", "\ud83d"), Text("\udc22"), Finish(), UsageChunk(), Done()
    )
    async with serving(model) as server:
        outcome = await collect(server.stream())
    assert code_and_reason(outcome) == ("OK", "")
    assert outcome.text == "é…🦜🐢 𝄞🐢"


async def test_all_output_passes_through(engine: ScriptedEngine) -> None:
    """Reasoning, refusal, tool calls, detailed usage and the finish are the same with and without faults."""
    script = (
        Reasoning("h", "m"),
        Text("Look", ": "),
        Refusal("No"),
        ToolCall(0, "c1", "look", ""),
        ToolCall(0, arguments='{"a":'),
        ToolCall(0, arguments="1}"),
        ToolCall(1, "c2", "see", "{}"),
        Finish("tool_calls"),
        UsageChunk(details={"prompt_tokens_details": {"cached_tokens": 3}}),
        Done(),
    )
    engine.script(*script)
    plan = FaultSettings(trickle=True, unknown_fields=True)
    models = (upstream(engine.base_url), upstream(engine.base_url, name="faulty", faults=plan))
    tools = [input_pb2.Tool(name="look"), input_pb2.Tool(name="see")]
    async with serving(*models) as server:
        undisturbed = await collect(server.stream(model="scripted", tools=tools))
        faulty = await collect(server.stream(model="faulty", tools=tools))
    assert code_and_reason(faulty) == code_and_reason(undisturbed) == ("OK", "")
    assert output_of(faulty) == output_of(undisturbed)
    assert faulty.messages[-1].usage == undisturbed.messages[-1].usage
    assert faulty.finished.finish_reason == generation_pb2.FINISH_REASON_TOOL_CALLS


def output_of(outcome: Outcome) -> list[Any]:
    texts = [(t.text, t.reasoning_text, t.refusal_text) for t in outcome.tokens]
    # Where the arguments of a call are cut depends on how the engine's bytes arrive.
    calls: dict[int, list[str]] = {}
    for message in outcome.messages:
        for part in message.tool_call_fragments:
            call = calls.setdefault(part.call_index, ["", "", ""])
            for place, piece in enumerate((part.id, part.function_name, part.arguments_fragment)):
                call[place] += piece
    return [texts, calls]


async def test_usage_in_each_chunk(served: Served) -> None:
    """If the engine reports usage in each chunk, the bill after a cut is the engine's own count."""
    async with ScriptedEngine(VLLM) as engine:
        engine.script(Text("a", "b", "c", "d"), Finish(), UsageChunk(), Done())
        model = upstream(engine.base_url, dialect="vllm", faults=FaultSettings(cut_at_token=3))
        async with serving(model) as server:
            outcome = await collect(server.stream())
    assert code_and_reason(outcome) == failure("ENGINE_LOST")
    usage = outcome.messages[-1].usage
    assert (usage.output_token_count, usage.source) == (3, usage_pb2.USAGE_SOURCE_ENGINE)


# --- Affected calls


async def test_a_seed_repeats_exactly() -> None:
    """With one seed, the same calls fail on every server. Another seed selects other calls."""

    async def failing(seed: int) -> list[bool]:
        faults = FaultSettings(cut_at_token=2, probability=0.5, seed=seed)
        async with serving(builtin(faults=faults)) as server:
            return [code_and_reason(await run(server))[0] != "OK" for _ in range(24)]

    first, again, other = await failing(1), await failing(1), await failing(2)
    assert first == again != other
    assert 0 < sum(first) < 24


async def test_the_first_calls_only(served: Served) -> None:
    """`times` is counted per plan and name, so that a test can check the recovery."""
    plan = {"cut_at_token": 2, "times": 2, "name": "a"}
    seen = [code_and_reason(await run(served, plan))[0] for _ in range(4)]
    assert seen == ["UNAVAILABLE", "UNAVAILABLE", "OK", "OK"]
    assert code_and_reason(await run(served, {**plan, "name": "b"}))[0] == "UNAVAILABLE"


async def test_a_request_without_a_plan_is_not_wrapped(served: Served) -> None:
    """Without a plan, the wrapper returns the engine's own generator, which adds no cost per token."""
    (wrapper,) = served.server.catalog.resolve("").engines
    batches = wrapper.generate(plain_request())
    assert batches.ag_code is BuiltinEngine.generate.__code__
    await batches.aclose()


def plain_request() -> Any:
    from tokengrpc.core.request import GenerationRequest  # noqa: PLC0415 - for this test alone

    return GenerationRequest(prompt="Hello")


def test_without_a_fault_no_wrapping() -> None:
    """A plan without a fault does not wrap the engine, whatever its conditions."""

    async def engines(**settings: Any) -> list[type]:
        async with serving(builtin(**settings)) as server:
            return [type(engine) for engine in server.server.catalog.resolve("").engines]

    assert asyncio.run(engines()) == [BuiltinEngine]
    assert asyncio.run(engines(faults=FaultSettings(probability=0.5, seed=3, times=1))) == [BuiltinEngine]


# --- Rejected requests


@pytest.mark.parametrize(
    ("faults", "field", "words"),
    [
        ({"cut_at_tokn": 1}, "engine_params.faults.cut_at_tokn", "did you mean `cut_at_token`"),
        ({"cut_at_token": -1}, "engine_params.faults.cut_at_token", "at least 0"),
        ({"cut_at_token": 1.5}, "engine_params.faults.cut_at_token", "a whole number"),
        (
            {"cut_at_token": 1, "refuse": True},
            "engine_params.faults.cut_at_token",
            "cannot be combined with refuse",
        ),
        ({"usage": "lots"}, "engine_params.faults.usage", "one of none, told, twice"),
        ({"status": 200}, "engine_params.faults.status", "from 300 to 599"),
        ("cut", "engine_params.faults", "a table"),
    ],
)
async def test_invalid_plans(served: Served, faults: Any, field: str, words: str) -> None:
    """INVALID_REQUEST names the key and the allowed values. The request does not reach the engine."""
    outcome = await run(served, faults)
    assert code_and_reason(outcome) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    (violation,) = outcome.detail(error_details_pb2.BadRequest).field_violations
    assert violation.field == field
    assert words in violation.description
    assert outcome.messages == []


async def test_requests_may_not_have_faults_by_default() -> None:
    """By default they are UNSUPPORTED_FEATURE, like every other key of engine_params."""
    async with serving(builtin(faults=FaultSettings(pace=1000))) as server:
        assert code_and_reason(await run(server, {"cut_at_token": 1})) == (
            "INVALID_ARGUMENT",
            "UNSUPPORTED_FEATURE",
        )


# --- The wrapped engine


async def test_a_cancel_reaches_the_wrapped_engine() -> None:
    """The engine's connection is closed at once, even during a planned silence."""
    async with ScriptedEngine() as engine:
        model = upstream(engine.base_url, faults=FaultSettings(stall_at_token=2))
        engine.script(Text("a", "b"), Text("c"), Stall())
        async with serving(model) as server:
            stream = server.stream("g")
            await read_until(stream, lambda message: message.tokens)
            call: Call = await engine.called()
            stream.cancel()
            await asyncio.wait_for(call.disconnected.wait(), 5)
            await until(lambda: server.registry.active == 0)
            assert engine.open_connections == 0


async def test_failures_of_the_wrapped_engine() -> None:
    """An error of the wrapped engine reaches the caller unchanged."""
    async with ScriptedEngine() as engine:
        model = upstream(engine.base_url, faults=FaultSettings(trickle=True))
        async with serving(model) as server:
            engine.script(Status(429, {}, {"Retry-After": "3"}))
            refused = await collect(server.stream())
            engine.script(Text("a"), Finish("abort"), Done())
            aborted = await collect(server.stream())
    assert code_and_reason(refused) == failure("ENGINE_UNAVAILABLE")
    assert refused.detail(error_details_pb2.RetryInfo).retry_delay.seconds == 3
    assert code_and_reason(aborted) == failure("ENGINE_ABORTED")
    assert aborted.text == "a"


async def test_a_planned_fault_affects_the_health() -> None:
    """The engine is unhealthy after a planned fault, and healthy after the next success."""
    faults = FaultSettings(refuse=True, times=1)
    async with serving(builtin(faults=faults)) as server:
        (engine,) = server.server.catalog.resolve("").engines
        assert code_and_reason(await run(server)) == failure("ENGINE_UNAVAILABLE")
        assert engine.healthy is False
        assert code_and_reason(await run(server)) == ("OK", "")
        assert engine.healthy is True


def test_the_table_has_every_fault() -> None:
    """Each key but the conditions has an outcome, and each reason has a code."""
    assert OUTCOMES.keys() == DEFAULTS.keys() - CONDITIONS
    assert set(BREAKS) | set(HARMLESS) | {"status", "retry_after", "stall_time"} == set(OUTCOMES)
    assert all(reason in CODES for outcome in OUTCOMES.values() for reason in outcome.reasons)
