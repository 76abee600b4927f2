"""Failover.

If an engine fails before the first token, another one answers, and the caller does not notice.
"""

from __future__ import annotations

import asyncio
import socket

import pytest
from tokenstreaming.v1 import generation_pb2, input_pb2, model_pb2
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.harness import check_gapless, collect, read_until, until
from tests.support.pools import Played, generate
from tests.support.scripted_engine import (
    Bytes,
    Chunk,
    Complaint,
    Done,
    Drop,
    Finish,
    Headers,
    Pause,
    Reset,
    Stall,
    Status,
    Text,
    UsageChunk,
)
from tests.support.several_engines import ANSWER, two_engines
from tests.support.wire_dialects import VLLM
from tokengrpc.core.breaker import CONSECUTIVE
from tokengrpc.core.model import Delta, EngineFinish, FinishReason, ToolCallFragment
from tokengrpc.core.request import GenerationRequest
from tokengrpc.errors import EngineAuthFailed, EngineLost

END = FinishReason.END
State = generation_pb2.GenerationState

LOST_BEFORE_A_TOKEN = {
    "refuses": (Status(503, {}),),
    "asks to wait": (Status(429, {}, {"Retry-After": "9"}),),
    "resets in prefill": (Reset(),),
    "is lost after it accepted": (Headers(), Drop()),
    "ends without anything": (Headers(),),
    "ends with its mark alone": (Headers(), Done()),
    "complains": (Complaint(message="CUDA out of memory", code=500),),
    "sends nonsense": (Bytes(b"data: {nonsense\n\n"),),
    "does not take our key": (Status(401, {}),),
    "has no such model": (Status(404, {}),),
}


@pytest.mark.parametrize("name", LOST_BEFORE_A_TOKEN)
async def test_before_the_first_token_another_engine_answers(name):
    """Each row gives one `started`, no switch, and the other engine's output.

    The record names both engines.
    """
    async with two_engines() as two:
        two.a.script(*LOST_BEFORE_A_TOKEN[name])
        outcome = await collect(two.server.stream("g"))
        assert outcome.code.name == "OK"
        assert outcome.text == "Well said"
        check_gapless(outcome.messages)
        kinds = [message.WhichOneof("event") for message in outcome.events]
        assert kinds.count("started") == 1
        assert "engine_switched" not in kinds
        assert outcome.messages[-1].usage.overhead_token_count == 0
        assert (len(two.a.calls), len(two.b.calls)) == (1, 1)
        assert two.ended.records[-1].engines == ("a", "b")
        generation = await two.server.get("g")
        assert generation.engine == "b"


async def test_an_unreachable_engine_costs_only_the_attempt():
    """A refused connection is one failed attempt."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but not listening
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        async with two_engines(of_a={"base_url": url}) as two:
            outcome = await collect(two.server.stream())
            assert outcome.text == "Well said"
            assert two.ended.records[-1].engines == ("a", "b")


@pytest.mark.parametrize("steps", [(Status(400, {"error": {"message": "no"}}),), (Status(422, {}),)])
async def test_an_invalid_request_is_not_sent_to_another_engine(steps):
    """The error is reported at once, and does not count against the engine."""
    async with two_engines() as two:
        two.a.script(*steps)
        for _ in range(4):
            outcome = await collect(two.server.stream())
            assert outcome.info.reason == "INVALID_REQUEST"
        assert not two.b.calls
        assert two.engines["a"].breaker.closed


async def test_the_last_error_counts_unless_another_is_retryable():
    """If the last engine rejects the key, callers are still told to retry if another engine may recover."""
    async with two_engines(limits={"max_engine_attempts": 2}) as two:
        two.a.script(Status(503, {}))
        two.b.script(Headers(), Drop())
        outcome = await collect(two.server.stream())
        assert outcome.info.reason == "ENGINE_LOST"
        two.b.script(Status(401, {}))
        outcome = await collect(two.server.stream())
        assert outcome.info.reason == "ENGINE_UNAVAILABLE"
        two.a.script(Status(401, {}))
        outcome = await collect(two.server.stream())
        assert outcome.info.reason == "ENGINE_AUTH_FAILED"


async def test_queued_requests_are_served_when_a_backoff_expires():
    """No other event occurs: one engine is at capacity, and the backoff of the other one expires."""
    async with two_engines(of_b={"max_connections": 1}) as two:
        two.a.script(Status(429, {}, {"Retry-After": "0.5"}))
        two.b.script(Text("One"), Stall())
        running = two.server.stream("running")
        await read_until(running, lambda message: message.tokens)
        two.a.script(*ANSWER)
        outcome = await collect(two.server.stream(timeout=10))
        assert (outcome.code.name, outcome.text) == ("OK", "Well said")
        assert two.ended.records[-1].engines == ("a",)
        assert two.engines["b"].running == 1
        running.cancel()


async def test_queued_requests_are_served_when_a_new_backoff_expires():
    """All engines were at capacity when the request was queued. Then one of them requests a backoff."""
    full = {"max_connections": 1}
    async with two_engines(of_a=full, of_b=full, limits={"max_engine_attempts": 1}) as two:
        two.a.script(pause := Pause(), Status(429, {}, {"Retry-After": "0.5"}))
        two.b.script(Text("One"), Stall())
        told = two.server.stream("told")
        await pause.reached.wait()
        running = two.server.stream("running")
        await read_until(running, lambda message: message.tokens)
        waiting = two.server.stream("waiting", timeout=10)
        pool = two.pool
        await until(lambda: pool.waiting == 1)
        two.a.script(*ANSWER)
        pause.release()
        assert (await collect(told)).info.reason == "ENGINE_UNAVAILABLE"
        outcome = await collect(waiting)
        assert (outcome.code.name, outcome.text) == ("OK", "Well said")
        running.cancel()


async def test_queued_requests_are_served_when_a_trial_succeeds():
    """A trial succeeds at its first output, not at its end."""
    async with two_engines(of_b={"max_connections": 1}) as two:
        two.a.script(Status(503, {}))
        for _ in range(CONSECUTIVE):
            await collect(two.server.stream())
        assert not two.engines["a"].breaker.closed
        two.b.script(Text("One"), Stall())
        on_b = two.server.stream("on-b")
        await read_until(on_b, lambda message: message.tokens)
        two.a.script(pause := Pause(), Text("One"), Stall())
        on_trial, waiting = two.server.stream("on-trial"), two.server.stream("waiting", timeout=10)
        await pause.reached.wait()
        pool = two.pool
        await until(lambda: pool.waiting == 1)
        two.a.script(*ANSWER)
        pause.release()
        outcome = await collect(waiting)
        assert (outcome.code.name, outcome.text) == ("OK", "Well said")
        assert [two.engines[name].running for name in "ab"] == [1, 1]
        on_trial.cancel()
        on_b.cancel()


async def test_nothing_of_a_lost_attempt_is_left_in_the_output():
    """Incomplete characters of the text and of arguments are discarded."""
    half = ToolCallFragment(call_index=0, arguments="\ud83e")
    a = Played("a", [(), [Delta(text="\ud83e", count=0), Delta(fragments=(half,), count=0)], EngineLost("x")])
    call = ToolCallFragment(call_index=0, id="c", function_name="f", arguments="{}")
    end = Delta(count=0, finish=EngineFinish(reason=FinishReason.TOOL_CALLS))
    b = Played("b", [(), [Delta(text="Well", count=1), Delta(fragments=(call,), count=1)], [end]])
    told = await generate(GenerationRequest(prompt="Hi"), a, b)
    fragments = [fragment for message in told.messages for fragment in message.tool_call_fragments]
    assert (told.text, [fragment.arguments_fragment for fragment in fragments]) == ("Well", ["{}"])


async def test_attempts_are_bounded():
    """`max_engine_attempts` applies however many engines there are."""
    async with two_engines(limits={"max_engine_attempts": 1}) as two:
        two.a.script(Status(503, {}))
        outcome = await collect(two.server.stream())
        assert outcome.info.reason == "ENGINE_UNAVAILABLE"
        assert not two.b.calls


async def test_a_lost_engine_may_be_tried_again():
    """After all engines were tried, but neither the one that failed last nor one with a permanent error."""
    answer = [(), [Delta(text="Back", count=1)], [Delta(count=0, finish=EngineFinish(reason=END))]]
    request = GenerationRequest(prompt="p")
    told = await generate(request, Played("a", [EngineLost("x")], answer), Played("b", [EngineLost("x")]))
    assert (told.text, told.entry.engines) == ("Back", ("a", "b", "a"))
    alone = Played("a", [EngineLost("x")], answer)
    assert (await generate(request, alone)).error == "ENGINE_LOST"
    wrong = Played("a", [EngineAuthFailed("x")], answer)
    assert (await generate(request, wrong, Played("b", [EngineLost("x")]))).error == "ENGINE_LOST"
    assert len(alone.calls) == len(wrong.calls) == 1


async def test_the_first_token_timeout_covers_all_attempts():
    """A short timeout that the caller chose does not count against the engine."""
    async with two_engines() as two:
        two.a.script(Headers(), Stall())
        limits = input_pb2.Limits()
        limits.first_token_timeout.FromMilliseconds(50)
        for _ in range(4):
            outcome = await collect(two.server.stream(limits=limits))
            assert outcome.info.reason == "ENGINE_STALLED"
            assert outcome.info.metadata["clock"] == "first_token"
        assert not two.b.calls
        assert two.engines["a"].breaker.closed


async def test_an_unhealthy_engine_is_skipped_until_a_trial_succeeds():
    """After several failures it receives no requests.

    A trial after the cool-down closes its circuit breaker.
    """
    async with two_engines() as two:
        two.a.script(Status(503, {}))
        for _ in range(5):
            assert (await collect(two.server.stream())).text == "Well said"
        asked = len(two.a.calls)
        assert asked < 5
        assert two.engines["a"].healthy is False
        models = await two.server.stub.ListModels(pb.ListModelsRequest())
        health = {engine.name: engine.health for engine in models.models[0].engines}
        assert health == {"a": model_pb2.ENGINE_HEALTH_UNHEALTHY, "b": model_pb2.ENGINE_HEALTH_HEALTHY}
        two.a.script(Text("Back"), Finish(), UsageChunk(), Done())
        texts: set[str] = set()
        while "Back" not in texts:
            texts.add((await collect(two.server.stream())).text)
        assert texts <= {"Well said", "Back"}
        assert two.engines["a"].breaker.closed


async def test_a_feature_is_served_by_an_engine_that_has_it():
    """A feature that only one engine has is served by that engine; one that none has is refused."""
    async with two_engines(of_b={"dialect": "vllm"}, dialect=VLLM) as two:
        outcome = await collect(two.server.stream(output_constraint=input_pb2.OutputConstraint(regex="W.*")))
        assert outcome.text == "Well said"
        assert not two.a.calls
        outcome = await collect(two.server.stream(prompt_token_ids=input_pb2.TokenIds(ids=[1, 2])))
        assert outcome.info.reason == "UNSUPPORTED_FEATURE"
        assert len(two.b.calls) == 1


async def test_requests_queue_for_an_engine_at_capacity():
    """Queued requests are served first come, first served, and can be cancelled."""
    async with two_engines(of_a={"max_connections": 1}, of_b={"max_connections": 1}) as two:
        pauses = [Pause(), Pause()]
        two.a.script(Text("A"), pauses[0], Finish(), UsageChunk(), Done())
        two.b.script(Text("B"), pauses[1], Finish(), UsageChunk(), Done())
        running = [two.server.stream(f"running-{number}") for number in range(2)]
        for call in running:
            await read_until(call, lambda message: message.tokens)
        waiting, readings = [], []
        pool = two.pool
        for number in range(3):
            waiting.append(two.server.stream(f"waiting-{number}"))
            readings.append(asyncio.ensure_future(collect(waiting[-1])))
            await until(lambda number=number: pool.waiting == number + 1)
        assert (await two.server.get("waiting-0")).state == State.GENERATION_STATE_QUEUED
        waiting[0].cancel()
        await until(lambda: pool.waiting == 2)
        two.a.script(Text("A"), Finish(), UsageChunk(), Done())
        pauses[0].release()
        outcomes = [await reading for reading in readings[1:]]
        assert [outcome.text for outcome in outcomes] == ["A", "A"]
        assert [outcome.finished.status.code for outcome in outcomes] == [0, 0]
        assert (len(two.a.calls), len(two.b.calls)) == (3, 1)
        pauses[1].release()
        assert [(await collect(call)).code.name for call in running] == ["OK", "OK"]
        assert [pooled.running for pooled in two.engines.values()] == [0, 0]


async def test_a_slot_that_does_not_become_free_is_engine_unavailable():
    """The first-token timeout applies in the queue as well, and the error names it."""
    async with two_engines(of_a={"max_connections": 1}, of_b={"max_connections": 1}) as two:
        for each in (two.a, two.b):
            each.script(Text("x"), Stall())
        running = [two.server.stream() for _ in range(2)]
        for call in running:
            await read_until(call, lambda message: message.tokens)
        limits = input_pb2.Limits()
        limits.first_token_timeout.FromMilliseconds(50)
        outcome = await collect(two.server.stream(limits=limits))
        assert outcome.info.reason == "ENGINE_UNAVAILABLE"
        assert outcome.info.metadata["clock"] == "first_token"
        for call in running:
            call.cancel()
        await until(lambda: not any(pooled.running for pooled in two.engines.values()))


async def test_usage_of_a_failed_attempt_is_overhead():
    """The failed engine's usage is in no other count."""
    async with two_engines(of_a={"dialect": "vllm"}, of_b={"dialect": "vllm"}) as two:
        two.a.script(Chunk(told(11, 0)), Drop())
        outcome = await collect(two.server.stream())
        usage = outcome.messages[-1].usage
        assert (usage.input_token_count, usage.output_token_count) == (7, 2)
        assert usage.overhead_token_count == 11


def told(input_count: int, output_count: int) -> dict[str, object]:
    """Returns a chunk with nothing but usage."""
    usage = {"prompt_tokens": input_count, "completion_tokens": output_count}
    return {"id": "x", "object": "chat.completion.chunk", "model": "m", "choices": [], "usage": usage}
