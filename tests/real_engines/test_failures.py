"""Limits, failures and leaving: the engine is killed, cancelled, overloaded or asked for too much."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

from tokenstreaming.v1 import generation_pb2, input_pb2, usage_pb2

from tests.real_engines.bench import PROMPT, Bench
from tests.support.harness import check_gapless, collect, read_until, serving, until, upstream

if TYPE_CHECKING:
    from tests.support.harness import Outcome

COUNTED = {
    usage_pb2.USAGE_SOURCE_ENGINE,
    usage_pb2.USAGE_SOURCE_COUNTED,
    usage_pb2.USAGE_SOURCE_ESTIMATED,
}


def reason(outcome: Outcome) -> str:
    return outcome.info.reason if outcome.info is not None else ""


def long_count(bench: Bench) -> int:
    """Returns an output limit that takes the engine some time, and that its context has room for."""
    return bench.kind.context - 256


def never_ending(bench: Bench) -> dict[str, object]:
    """Returns the fields of a request whose output ends with its limit only."""
    return {"max_output_token_count": long_count(bench), "engine_params": bench.kind.never_ending}


async def test_a_prompt_beyond_the_context_is_refused(bench: Bench):
    outcome = await bench.stream(prompt="word " * bench.kind.context)
    assert (outcome.code.name, reason(outcome)) == ("INVALID_ARGUMENT", "CONTEXT_LENGTH_EXCEEDED"), (
        outcome.message or f"answered with {outcome.messages[-1].usage.input_token_count} input tokens"
    )


async def test_an_unknown_model_is_refused(bench: Bench):
    settings = {**bench.kind.settings, "upstream_model": "no-such-model"}
    async with serving(
        upstream(f"http://127.0.0.1:{bench.recorder.port}{bench.kind.base_path}", **settings)
    ) as other:
        outcome = await collect(other.stream(prompt=PROMPT, max_output_token_count=4))
    assert (outcome.code.name, reason(outcome)) == ("NOT_FOUND", "MODEL_NOT_FOUND"), outcome.message


async def test_the_engine_is_killed_before_the_first_token(bench: Bench):
    # Stopped, the engine's kernel accepts the request, and no answer comes.
    bench.engine.process.signal(signal.SIGSTOP)
    call = bench.call("before-the-first")
    # The prompt, or, where that goes as token ids, the request's id, which begins with the generation's.
    mark = PROMPT[:10].encode() if bench.kind.settings["kind"] == "openai" else b"before-the-first"
    try:
        await until(lambda: mark in bench.recorder.sent, "the request reached the engine")
    finally:
        await asyncio.to_thread(bench.engine.process.kill)
    outcome = await collect(call)
    assert (outcome.code.name, reason(outcome)) == ("UNAVAILABLE", "ENGINE_UNAVAILABLE"), outcome.message
    assert not outcome.tokens
    assert outcome.failure is not None
    assert outcome.failure.usage.output_token_count == 0


async def test_the_engine_is_killed_after_the_first_token(bench: Bench):
    call = bench.call(**never_ending(bench))
    first = await read_until(call, lambda message: message.tokens)
    await asyncio.to_thread(bench.engine.process.kill)
    outcome = await collect(call)
    assert (outcome.code.name, reason(outcome)) == ("UNAVAILABLE", "ENGINE_LOST"), outcome.message
    check_gapless([*first, *outcome.messages])
    assert outcome.failure is not None
    received = sum(token.count for message in (*first, *outcome.messages) for token in message.tokens)
    assert outcome.failure.usage.output_token_count >= received > 0


async def test_a_cancel_stops_the_engine(bench: Bench):
    before = bench.engine.generated()
    call = bench.call("cancelled", **never_ending(bench))
    await read_until(call, lambda message: message.tokens)
    ended = await bench.server.cancel("cancelled")
    # LiteLLM notices a closed connection late, the later the busier the machine is, whoever closes it.
    await until(lambda: bench.engine.busy() == 0, "the engine has stopped", seconds=90)
    assert bench.engine.generated() - before < long_count(bench)
    if bench.kind.settings["kind"] == "openai":
        await until(lambda: bench.recorder.connections[-1].closed_by, "the connection is closed")
        assert bench.recorder.connections[-1].closed_by == "tokengrpc"
    assert ended.state == generation_pb2.GENERATION_STATE_CANCELLED
    assert 0 < ended.usage.output_token_count < long_count(bench)
    assert (await collect(call)).code.name == "CANCELLED"


async def test_a_deadline_keeps_the_partial_output(bench: Bench):
    began = time.monotonic()
    await bench.stream(max_output_token_count=1)
    # Long enough for the first tokens on this machine, and far too short for all.
    seconds = max(0.4, 5 * (time.monotonic() - began))
    limits = input_pb2.Limits(deadline_action=input_pb2.DEADLINE_ACTION_FINISH_PARTIAL)
    limits.time_limit.FromMilliseconds(round(1000 * seconds))
    outcome = await bench.stream(limits=limits, **never_ending(bench))
    assert (outcome.code.name, outcome.message) == ("OK", "")
    assert outcome.finished is not None
    assert outcome.finished.finish_reason == generation_pb2.FINISH_REASON_TIME_LIMIT
    assert 0 < outcome.messages[-1].usage.output_token_count < long_count(bench)
    assert outcome.messages[-1].usage.source in COUNTED
    await until(lambda: bench.engine.busy() == 0, "the engine has stopped")


async def test_twenty_at_once_are_all_whole(bench: Bench):
    alone = await bench.stream(max_output_token_count=48)
    outcomes = await asyncio.gather(*(bench.stream(max_output_token_count=48) for _ in range(20)))
    assert {outcome.code.name for outcome in outcomes} == {"OK"}
    for outcome in outcomes:
        check_gapless(outcome.messages)
    assert {outcome.text for outcome in outcomes} == {alone.text}


async def test_a_reader_resumes_without_a_gap(bench: Bench):
    detached = input_pb2.Recovery(disconnect_action=input_pb2.DISCONNECT_ACTION_DETACH)
    call = bench.call(
        "resumed", recovery=detached, max_output_token_count=200, engine_params=bench.kind.never_ending
    )
    first = await read_until(call, lambda message: message.tokens)
    call.cancel()
    rest = await collect(bench.server.resume("resumed", first[-1].sequence))
    assert rest.code.name == "OK", rest.message
    check_gapless([*first, *rest.events])
    text = "".join(token.text for message in first for token in message.tokens) + rest.text
    own = await bench.ask(max_tokens=200, **bench.kind.never_ending)
    assert text == own.text
