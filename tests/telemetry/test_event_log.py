"""What operators find in the log: generations with their times, engines that fail and recover."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.harness import collect, serving, until, upstream
from tests.support.script_steps import Complaint, Done, Drop, Finish, Pause, Status, Text, UsageChunk
from tests.support.several_engines import two_engines
from tokengrpc.telemetry.event_log import MAX_LABEL_LENGTH, MAX_LABELS, EventLog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.scripted_engine import ScriptedEngine

ANSWER = (Text("Well"), Text(" said", "."), Finish(), UsageChunk(), Done())
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """All lines of one test."""
    with capture_logs() as lines:
        yield lines


def named(lines: list[Any], event: str) -> list[dict[str, Any]]:
    """Returns the lines of one kind."""
    return [line for line in lines if line["event"] == event]


async def test_a_generation_has_one_line(engine: ScriptedEngine, logged: list[Any]):
    """With its times, the caller's address, its labels and its trace."""
    pause = Pause()
    engine.script(ANSWER[0], pause, *ANSWER[1:])
    metadata = (("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01"),)
    async with serving(upstream(engine.base_url, name="m"), observers=(EventLog(),)) as server:
        call = server.stream("g", labels={"team": "search"}, metadata=metadata)
        await pause.reached.wait()
        pause.release()
        assert (await collect(call)).finished
        shown = await server.get("g")
    (line,) = named(logged, "generation")
    assert line["caller"].startswith("127.0.0.1:")
    expected = {"generation_id": "g", "tenant": "default", "model": "m", "engines": "m", "attempts": 1}
    expected |= {"finish_reason": "END", "error_reason": "", "error": "", "labels": {"team": "search"}}
    expected |= {"trace_id": TRACE, "output_tokens": 3, "usage_source": "ENGINE", "log_level": "info"}
    assert {name: line[name] for name in expected} == expected
    first = shown.first_token_time.ToNanoseconds() - shown.create_time.ToNanoseconds()
    rest = shown.end_time.ToNanoseconds() - shown.first_token_time.ToNanoseconds()
    assert line["first_token_seconds"] == pytest.approx(first / 1e9, abs=1e-5)
    assert line["tokens_per_second"] == pytest.approx(2 / (rest / 1e9), rel=0.01)
    assert [row["trace_id"] for row in named(logged, "call") if row["method"] == "StreamTokens"] == [TRACE]


async def test_labels_are_bounded(engine: ScriptedEngine, logged: list[Any]):
    """In number and length: callers choose them."""
    engine.script(*ANSWER)
    labels = {f"{number:063}": "x" * 256 for number in range(16)}
    async with serving(upstream(engine.base_url), observers=(EventLog(),)) as server:
        assert (await collect(server.stream(labels=labels))).finished
    (line,) = named(logged, "generation")
    assert len(line["labels"]) == MAX_LABELS
    assert all(len(text) <= MAX_LABEL_LENGTH for pair in line["labels"].items() for text in pair)


@pytest.mark.parametrize(
    ("steps", "error"),
    [
        ((Status(503, {"error": {"message": "canary"}}),), "engine scripted is busy or failing (HTTP 503)"),
        ((Text("One"), Drop()), "the connection to engine scripted broke"),
        ((Text("One"), Complaint(message="canary")), "engine scripted aborted the generation; start again"),
    ],
)
async def test_a_failed_generation_says_why(
    engine: ScriptedEngine, logged: list[Any], steps: tuple[Any, ...], error: str
):
    """The caller gets the engine's words, too. The log does not have them: they may repeat the prompt."""
    engine.script(*steps)
    async with serving(upstream(engine.base_url), observers=(EventLog(),)) as server:
        outcome = await collect(server.stream())
    (line,) = named(logged, "generation")
    assert outcome.info is not None
    assert (line["log_level"], line["error_reason"]) == ("warning", outcome.info.reason)
    assert line["error"].startswith(error)
    assert ("canary" in outcome.message) is (steps[-1].__class__ is not Drop)
    assert "canary" not in str(logged)


async def test_a_circuit_breaker_has_a_line_for_each_change(logged: list[Any]):
    """When it opens, with the error that opened it, and when it closes again."""
    async with two_engines(observers=(EventLog(),)) as two:
        two.a.script(Status(500, {"error": {"message": "canary"}}))
        for _ in range(3):
            assert (await collect(two.server.stream())).finished
        a = two.engines["a"]
        assert not a.breaker.closed
        two.a.script(*ANSWER)
        now = two.server.server.clock.now_ns() / 1e9
        a.checked(now, succeeded=True, began=now)
        assert (await collect(two.server.stream())).finished
    (opened,), (closed,) = named(logged, "circuit breaker opened"), named(logged, "circuit breaker closed")
    where = {"model": "m", "engine": "a"}
    reason = {"error_reason": "ENGINE_UNAVAILABLE", "log_level": "warning"}
    assert opened == {**opened, **where, **reason}
    assert opened["error"] == "engine a is busy or failing (HTTP 500); try again later"
    assert closed == {"event": "circuit breaker closed", "log_level": "info", **where}


async def test_a_failed_health_check_says_why_it_opened_the_breaker(logged: list[Any]):
    """Without a request."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        model = upstream(url, name="m", health_check_interval=0.01)
        async with serving(model, observers=(EventLog(),)) as server:
            await until(lambda: named(logged, "circuit breaker opened"), "the checks open the breaker")
            await server.stub.ListModels(pb.ListModelsRequest())
    (opened,) = named(logged, "circuit breaker opened")
    assert opened["error"].startswith("engine m cannot be reached (Connection refused)")
