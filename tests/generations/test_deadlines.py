"""Rule 4: the server enforces the caller's deadline, and the end still arrives before it."""

from __future__ import annotations

import asyncio
from functools import partial

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st
from tokenstreaming.v1 import generation_pb2, input_pb2
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.fault_steps import Forever, KeepAlive
from tests.support.harness import Outcome, Served, collect, failing, read_until, serving, until, upstream
from tests.support.http_peer import Peer, Server
from tests.support.scripted_engine import Finish, Headers, Pause, ScriptedEngine, Stall, Text
from tokengrpc.core.deadline import MIN_LEFT, margin, rounding_unit, stream_end

DETACH = input_pb2.Recovery(disconnect_action=input_pb2.DISCONNECT_ACTION_DETACH)
FAIL = input_pb2.Limits(deadline_action=input_pb2.DEADLINE_ACTION_FAIL)
PARTIAL = input_pb2.Limits(deadline_action=input_pb2.DEADLINE_ACTION_FINISH_PARTIAL)


def seconds(value: float) -> Duration:
    return Duration(seconds=int(value), nanos=round(value % 1 * 1e9))


async def test_a_deadline_delivers_partial_output_and_usage(server: Served, engine: ScriptedEngine) -> None:
    """`finished` with partial usage arrives before the caller's library gives up.

    The engine's connection is closed.
    """
    engine.script(Text("One", " two"), Stall())
    outcome = await collect(server.stream("g", timeout=2.0))
    assert outcome.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert outcome.text == "One two"
    assert outcome.finished.finish_reason == generation_pb2.FINISH_REASON_DEADLINE
    assert outcome.messages[-1].usage.output_token_count == 2
    # Details prove that the error is the server's, not that of the caller's library.
    assert outcome.info.reason == "DEADLINE_EXCEEDED"
    assert outcome.failure.retry_advice == generation_pb2.RETRY_ADVICE_RETRY
    await (await engine.called()).disconnected.wait()
    assert (await server.get("g")).usage == outcome.messages[-1].usage


async def test_finish_partial_succeeds(server: Served, engine: ScriptedEngine) -> None:
    """With FINISH_PARTIAL, the same end has the status OK."""
    engine.script(Text("One"), Stall())
    outcome = await collect(server.stream("g", limits=PARTIAL, timeout=2.0))
    assert outcome.code is grpc.StatusCode.OK
    assert outcome.finished.finish_reason == generation_pb2.FINISH_REASON_DEADLINE
    assert not outcome.finished.HasField("status")
    assert outcome.text == "One"


async def test_a_deadline_in_prefill_closes_the_engine(server: Served, engine: ScriptedEngine) -> None:
    """Before acceptance there is no partial output: only trailers are sent, and the id is free."""
    engine.script(Stall())
    outcome = await collect(server.stream("g", limits=PARTIAL, timeout=1.0))
    assert (outcome.messages, outcome.info.reason) == ([], "DEADLINE_EXCEEDED")
    await (await engine.called()).disconnected.wait()
    assert (await failing(server.get("g"))).info.reason == "GENERATION_NOT_FOUND"


async def test_too_little_time_is_refused_before_the_engine_is_called(
    server: Served, engine: ScriptedEngine
) -> None:
    """With less than 50 ms left, no generation is started."""
    outcome = await collect(server.stream("g", timeout=0.03))
    assert outcome.code is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: server.registry.active == 0)
    assert engine.calls == []


async def test_a_longer_margin_can_be_requested(server: Served, engine: ScriptedEngine) -> None:
    """The generation ends earlier by the requested margin, as its own timestamps show."""
    engine.script(Text("One"), Stall())
    limits = input_pb2.Limits(deadline_margin=seconds(2.0))
    outcome = await collect(server.stream("g", limits=limits, timeout=5.0))
    total = outcome.finished.timing.total_duration
    assert outcome.info.reason == "DEADLINE_EXCEEDED"
    assert total.seconds + total.nanos / 1e9 < 5.0 - 1.5


def check_deadline_end(outcome: Outcome, limits: input_pb2.Limits, text: str) -> None:
    """Checks that the generation ended by its deadline, as a reader sees it."""
    assert outcome.finished is not None, outcome.info
    assert outcome.finished.finish_reason == generation_pb2.FINISH_REASON_DEADLINE
    assert outcome.text == text
    if limits == PARTIAL:
        assert outcome.code is grpc.StatusCode.OK
    else:
        assert outcome.info.reason == "DEADLINE_EXCEEDED"
        assert outcome.failure.ended


@pytest.mark.parametrize("limits", [FAIL, PARTIAL], ids=["fail", "partial"])
async def test_a_detached_generation_can_own_its_starters_deadline(
    server: Served, engine: ScriptedEngine, limits
) -> None:
    """With an explicit deadline action, it ends like one with CANCEL."""
    engine.script(Text("One"), Stall())
    outcome = await collect(server.stream("g", limits=limits, recovery=DETACH, timeout=2.0))
    check_deadline_end(outcome, limits, "One")
    await (await engine.called()).disconnected.wait()


@pytest.mark.parametrize("limits", [FAIL, PARTIAL], ids=["fail", "partial"])
async def test_an_owned_deadline_outlives_the_starters_call(
    server: Served, engine: ScriptedEngine, limits
) -> None:
    """After a disconnect, it expires at the original time.

    A reader receives the end within the remaining time.
    """
    pause = Pause()
    engine.script(Text("One"), pause, Text(" two"), Stall())
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 2.0
    starter = server.stream("g", limits=limits, recovery=DETACH, timeout=2.0)
    seen = await read_until(starter, lambda m: m.tokens)
    starter.cancel()
    await until(lambda: not server.tasks[0].subscribers)
    pause.release()
    resumed = await collect(server.resume("g", seen[-1].sequence, timeout=deadline - loop.time()))
    check_deadline_end(resumed, limits, " two")


async def test_an_owned_deadline_needs_no_reader(server: Served, engine: ScriptedEngine) -> None:
    """It ends the generation although nobody reads and `detach_ttl` has not expired."""
    engine.script(Text("One"), Stall())
    starter = server.stream("g", limits=PARTIAL, recovery=DETACH, timeout=1.0)
    await read_until(starter, lambda m: m.tokens)
    starter.cancel()
    await (await engine.called()).disconnected.wait()
    finished = (await server.get("g")).finished
    assert finished.finish_reason == generation_pb2.FINISH_REASON_DEADLINE


async def test_an_owned_deadline_before_acceptance(server: Served, engine: ScriptedEngine) -> None:
    """With DETACH there is no partial output either: only trailers are sent, and the id is free."""
    engine.script(Stall())
    limits = input_pb2.Limits(
        deadline_action=input_pb2.DEADLINE_ACTION_FINISH_PARTIAL, deadline_margin=seconds(1)
    )
    outcome = await collect(server.stream("g", limits=limits, recovery=DETACH, timeout=2.0))
    assert (outcome.messages, outcome.info.reason) == ([], "DEADLINE_EXCEEDED")
    assert outcome.failure.retry_advice == generation_pb2.RETRY_ADVICE_RETRY
    assert (await failing(server.get("g"))).info.reason == "GENERATION_NOT_FOUND"


async def test_only_the_starters_deadline_is_owned(server: Served, engine: ScriptedEngine) -> None:
    """A caller that attaches with an equal request has a deadline for its stream only, earlier or later."""
    engine.script(Text("One"), Stall())
    request = {"limits": FAIL, "recovery": DETACH}
    starter = asyncio.ensure_future(collect(server.stream("g", **request, timeout=3.0)))
    await until(lambda: server.registry.active)
    later = asyncio.ensure_future(collect(server.stream("g", **request, timeout=30.0)))
    earlier = await collect(server.stream("g", **request, timeout=1.0))
    assert earlier.finished is None
    assert earlier.failure.retry_advice == generation_pb2.RETRY_ADVICE_RESUME
    assert not earlier.failure.ended
    for outcome in (await starter, await later):
        check_deadline_end(outcome, FAIL, "One")
    assert engine.calls[1:] == []


async def test_a_stream_waits_for_an_end_within_its_own_margin(
    server: Served, engine: ScriptedEngine
) -> None:
    """A reader whose own margin begins before the generation's end still receives `finished`."""
    engine.script(Text("One"), Stall())
    limits = input_pb2.Limits(deadline_action=input_pb2.DEADLINE_ACTION_FAIL, deadline_margin=seconds(0.2))
    outcome = await collect(server.stream("g", limits=limits, recovery=DETACH, timeout=3.0))
    check_deadline_end(outcome, FAIL, "One")


async def test_a_detached_generation_outlives_its_starters_deadline(
    server: Served, engine: ScriptedEngine
) -> None:
    """With DETACH alone, a deadline ends only the stream that has it, with the advice to resume."""
    pause = Pause()
    engine.script(Text("One"), pause, Text(" two"), Stall())
    outcome = await collect(server.stream("g", recovery=DETACH, timeout=1.0))
    assert outcome.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert outcome.finished is None
    assert outcome.failure.retry_advice == generation_pb2.RETRY_ADVICE_RESUME
    assert not outcome.failure.ended
    pause.release()
    call = server.resume("g", outcome.messages[-1].sequence)
    seen = await read_until(call, lambda m: m.tokens)
    assert seen[-1].tokens[0].text == " two"
    call.cancel()


async def test_another_readers_deadline_ends_only_its_stream(server: Served, engine: ScriptedEngine) -> None:
    """The starter has no deadline and is not affected."""
    pause = Pause()
    engine.script(Text("One"), pause, Text(" two"), Stall())
    starter = server.stream("g")
    await read_until(starter, lambda m: m.tokens)
    other = await collect(server.resume("g", timeout=1.0))
    assert other.failure.retry_advice == generation_pb2.RETRY_ADVICE_RESUME
    pause.release()
    await read_until(starter, lambda m: m.tokens)
    starter.cancel()


async def test_a_time_limit_ends_with_ok(server: Served, engine: ScriptedEngine) -> None:
    """TIME_LIMIT has the status OK, with DETACH as well."""
    engine.script(Text("One"), Stall())
    limits = input_pb2.Limits(time_limit=seconds(1.0))
    outcome = await collect(server.stream("g", limits=limits, recovery=DETACH))
    assert outcome.code is grpc.StatusCode.OK
    assert outcome.finished.finish_reason == generation_pb2.FINISH_REASON_TIME_LIMIT


# For each timeout that a silent engine exceeds: what the engine does, and the settings of the request, the
# model and the server. Keep-alives (here comments) prove that the connection is alive, not the engine.
One = partial(Text, "One")
ALIVE = partial(Forever, KeepAlive())
SILENCES = {
    "first_token": [[Stall], [Headers, Stall], [ALIVE]],
    "inter_token": [[One, Stall], [One, ALIVE]],
    "total": [[Stall]],
}
REQUESTS = {"first_token": "first_token_timeout", "inter_token": "inter_token_timeout", "total": "time_limit"}
SERVERS = {**REQUESTS, "total": "max_time_limit"}


@pytest.mark.parametrize("level", ["request", "model", "server"])
@pytest.mark.parametrize(("clock", "steps"), [(c, steps) for c, rows in SILENCES.items() for steps in rows])
async def test_a_silent_engine_times_out_and_the_clock_is_named(
    engine: ScriptedEngine, clock, steps, level
) -> None:
    """ENGINE_STALLED names the clock and its limit, the shortest of three.

    The engine's connection is closed.
    """
    limits = {"request": 30.0, "model": 30.0, "server": 30.0, level: 0.2}
    if level == "server":
        limits["model"] = 0.0  # larger ones are refused when the server starts
    model = upstream(engine.base_url, **{REQUESTS[clock]: limits["model"]})
    engine.script(*(step() for step in steps))
    async with serving(model, limits={SERVERS[clock]: limits["server"]}) as server:
        asked = input_pb2.Limits(**{REQUESTS[clock]: seconds(limits["request"])})
        outcome = await collect(server.stream("g", limits=asked))
        assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.UNAVAILABLE, "ENGINE_STALLED")
        assert dict(outcome.info.metadata) == {"clock": clock, "limit_seconds": "0.2"}
        await (await engine.called()).disconnected.wait()


@pytest.mark.parametrize("ends", ["a clock", "a deadline", "a cancel", "the last reader"])
async def test_a_stop_while_waiting_for_usage_does_not_matter(
    server: Served, engine: ScriptedEngine, ends
) -> None:
    """The engine has sent its finish reason, so the output is complete. Its connection is closed."""
    engine.script(Text("One"), Finish(), stall := Stall())
    between = input_pb2.Limits(inter_token_timeout=seconds(0.2))
    limits, timeout = {"a clock": (between, None), "a deadline": (None, 1.0)}.get(ends, (None, None))
    call = server.stream("g", limits=limits, timeout=timeout)
    await read_until(call, lambda m: m.tokens)
    await stall.reached.wait()
    if ends == "a cancel":
        await server.cancel("g")
    if ends == "the last reader":
        call.cancel()
        await until(lambda: server.registry.active == 0)
        generation = await server.get("g")
        assert generation.finished.finish_reason == generation_pb2.FINISH_REASON_END
    else:
        outcome = await collect(call)
        assert outcome.code is grpc.StatusCode.OK
        assert outcome.finished.finish_reason == generation_pb2.FINISH_REASON_END
    await (await engine.called()).disconnected.wait()


async def test_keep_alives_do_not_stop_the_time_limit(server: Served, engine: ScriptedEngine) -> None:
    """Tokens do not stop it either. It ends a running generation with OK."""
    limits = input_pb2.Limits(time_limit=seconds(1.0))
    for steps in ((Text("One"), ALIVE()), (Forever(Text("One")),), (Headers(), ALIVE())):
        engine.script(*steps)
        outcome = await collect(server.stream(limits=limits))
        assert outcome.code is grpc.StatusCode.OK
        assert outcome.finished.finish_reason == generation_pb2.FINISH_REASON_TIME_LIMIT


async def test_the_inter_token_timeout_starts_at_the_last_token(
    server: Served, engine: ScriptedEngine
) -> None:
    """An engine that sends a token now and then is not silent, however long it takes in total."""
    engine.script(*(Text("One") for _ in range(3)), Forever(Text("One")))
    limits = input_pb2.Limits(inter_token_timeout=seconds(1.0), time_limit=seconds(2.5))
    outcome = await collect(server.stream(limits=limits))
    assert outcome.finished.finish_reason == generation_pb2.FINISH_REASON_TIME_LIMIT


@pytest.mark.parametrize(("model", "asked"), [(30.0, 0.2), (0.2, 30.0), (0.2, None)])
async def test_the_wait_for_a_connection_is_bounded(model, asked) -> None:
    """The request sets a bound below the model's own. The error is ENGINE_UNAVAILABLE and names the clock."""

    async def never_shakes_hands(peer: Peer) -> None:
        await peer.until_closed()

    async with Server(never_shakes_hands) as listener:
        behind = upstream(f"https://127.0.0.1:{listener.port}/v1", connect_timeout=model)
        async with serving(behind) as server:
            limits = input_pb2.Limits(connect_timeout=seconds(asked) if asked else None)
            outcome = await collect(server.stream("g", limits=limits))
        await listener.all_done()
    assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.UNAVAILABLE, "ENGINE_UNAVAILABLE")
    assert dict(outcome.info.metadata) == {"clock": "connect", "limit_seconds": "0.2"}


async def test_connecting_counts_towards_the_first_token_timeout() -> None:
    """Both clocks run at the same time. Time spent on connecting is not added."""

    async def never_shakes_hands(peer: Peer) -> None:
        await peer.until_closed()

    async with Server(never_shakes_hands) as listener:
        async with serving(upstream(f"https://127.0.0.1:{listener.port}/v1")) as server:
            limits = input_pb2.Limits(first_token_timeout=seconds(0.2))
            outcome = await collect(server.stream("g", limits=limits))
        await listener.all_done()
    assert outcome.info.reason == "ENGINE_STALLED"
    assert outcome.info.metadata["clock"] == "first_token"


async def test_generate_text_follows_the_same_rules(server: Served, engine: ScriptedEngine) -> None:
    """With FINISH_PARTIAL, a unary call returns the partial output."""
    engine.script(Text("One"), Stall())
    request = pb.StreamTokensRequest(prompt="x", limits=PARTIAL)
    answer = await server.stub.GenerateText(pb.GenerateTextRequest(request=request), timeout=1.0)
    assert answer.text == "One"
    assert answer.generation.finished.finish_reason == generation_pb2.FINISH_REASON_DEADLINE
    failed = await failing(
        server.stub.GenerateText(
            pb.GenerateTextRequest(request=pb.StreamTokensRequest(prompt="x")), timeout=1.0
        )
    )
    assert failed.info.reason == "DEADLINE_EXCEEDED"
    assert failed.failure.usage.output_token_count == 1


@pytest.mark.parametrize(
    ("left", "unit"), [(0.5, 0.01), (9.99, 0.01), (10, 0.1), (99, 0.1), (100, 1), (999, 1), (5000, 10)]
)
def test_rounding_of_deadlines(left, unit) -> None:
    """Deadlines are rounded as in C-core."""
    assert rounding_unit(left) == unit


@given(st.floats(MIN_LEFT, 1e6), st.none() | st.floats(0.001, 1e6))
def test_margins_leave_time_to_generate(left, asked) -> None:
    """A margin is at most a fifth of the time by default, and at most half of it if requested."""
    assert 0 < margin(left, asked) <= left * (0.2 if asked is None else 0.5)
    if asked is None and left > 5 * 10.25:
        assert margin(left) == 0.25 + rounding_unit(left)


@given(st.floats(MIN_LEFT, 1e6), st.floats(-1e6, 1e6))
def test_a_stream_ends_alone_only_if_its_generation_continues(left, generation_end) -> None:
    """It ends one margin before its deadline, unless `finished` is due before that."""
    expected = None if generation_end < left else left - margin(left)
    assert stream_end(left, generation_end) == expected


async def test_grpc_py_deadline_reaches_the_server(server: Served, engine: ScriptedEngine) -> None:
    """Two deadlines on one server end in their order."""
    engine.script(Text("One"), Stall())
    long, short = (asyncio.ensure_future(collect(server.stream(timeout=t))) for t in (3.0, 0.6))
    done, _ = await asyncio.wait({long, short}, return_when=asyncio.FIRST_COMPLETED)
    assert done == {short}
    assert (await long).info.reason == "DEADLINE_EXCEEDED"
