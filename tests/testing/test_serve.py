"""A scripted server is used with blocking and asyncio clients, and says what a test has scripted."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tokengrpc import (
    EngineFailedError,
    ResumePolicy,
    SyncTokenStreamClient,
    TokenStreamClient,
    UnavailableError,
)
from tokengrpc.testing import Hold, Pause, Reasoning, Refusal, Reply, ToolCall, UsageReport, serve


def test_blocking_code_reads_a_reply_word_by_word() -> None:
    """One line starts a server. Each word of a string is one token."""
    with serve("It is sunny.") as server, SyncTokenStreamClient(server.target) as client:
        with client.stream("How is the weather?") as stream:
            tokens = [token.text for token in stream]
        (request,) = server.requests
    assert tokens == ["It", " is", " sunny."]
    assert (request.prompt, stream.finish.finish_reason) == ("How is the weather?", 1)


async def test_asyncio_code_reads_the_same() -> None:
    """The server runs in a thread of its own, so that the test's loop may be blocked meanwhile."""
    async with serve("It is sunny.") as server, TokenStreamClient(server.target) as client:
        whole = await client.generate("How is the weather?")
        server.script("It", "is", "raining.")
        texts = [(await client.generate("And now?")).text for _ in range(4)]
    assert whole.text == "It is sunny."
    assert texts == ["It", "is", "raining.", "raining."]


def test_a_reply_has_all_kinds_of_output() -> None:
    """Text, reasoning, refusals, tool calls, usage and the finish reason arrive as scripted."""
    reply = Reply(
        Reasoning("Hm"),
        "Let me ",
        "see.",
        Refusal("No."),
        ToolCall("weather", {"city": "Zürich"}),
        ToolCall("time", '{"zone": 1}', id="call-2"),
        usage=UsageReport(input=70, output=20),
    )
    with serve(reply) as server, SyncTokenStreamClient(server.target) as client:
        whole = client.generate("Weather?")
    assert (whole.text, whole.reasoning_text, whole.refusal_text) == ("Let me see.", "Hm", "No.")
    calls = [(call.id, call.function_name, call.arguments) for call in whole.tool_calls]
    assert calls == [("call-1", "weather", '{"city": "Z\\u00fcrich"}'), ("call-2", "time", '{"zone": 1}')]
    usage = whole.generation.usage
    assert (usage.input_token_count, usage.output_token_count) == (70, 20)
    assert whole.generation.finished.finish_reason == 5


def test_other_ends() -> None:
    """By the names of the contract. Ends that are errors are faults."""
    with serve(Reply("a", finish="CONTENT_FILTER")) as server, SyncTokenStreamClient(server.target) as client:
        assert client.generate("x").generation.finished.finish_reason == 6
    with pytest.raises(ValueError, match="finish: 'ERROR' is not how an engine ends; allowed are: END"):
        Reply("a", finish="ERROR")
    with pytest.raises(ValueError, match=r"faults\.stats: unknown key; did you mean `status`"):
        Reply("a", faults={"stats": 1})


def test_other_types_are_rejected_at_once() -> None:
    """A list is a frequent mistake: replies and parts are arguments of their own."""
    parts: list[Any] = ["a", "b"]
    with pytest.raises(TypeError, match="a reply is a str or a Reply, not a list; pass one argument each"):
        serve(parts)  # type: ignore[arg-type]  # the mistake
    with pytest.raises(TypeError, match=r"\['a', 'b'\] is no part of a reply; pass str, Reasoning, .*, Hold"):
        Reply(parts)  # type: ignore[arg-type]  # the mistake


def test_a_hold_stops_the_engine_where_a_test_wants() -> None:
    """So a test needs no sleep to see a half answer. Pauses are by time."""
    hold = Hold()
    with (
        serve(Reply("One", hold, Pause(0.001), " two")) as server,
        SyncTokenStreamClient(server.target) as client,
        client.stream("Count.") as stream,
    ):
        tokens = iter(stream)
        assert next(tokens).text == "One"
        hold.wait_reached()
        threading.Timer(0.01, hold.release).start()
        assert next(tokens).text == " two"
    with pytest.raises(TimeoutError, match="was its reply requested"):
        Hold().wait_reached(0.01)


def test_faults_of_the_engine() -> None:
    """Those of the simulator: a refusal, a stall, an engine that dies in the middle."""
    with (
        serve(
            Reply("a", faults={"status": 429}),
            Reply("a", "b", "c", faults={"cut_at_token": 2}),
            Reply("a", "b", faults={"stall_at_token": 1}),
            "fine",
            settings={"limits": {"inter_token_timeout": 0.2}},
        ) as server,
        SyncTokenStreamClient(server.target, policy=ResumePolicy(retry_attempts=0)) as client,
    ):
        with pytest.raises(UnavailableError) as refused, client.stream("1") as stream:
            list(stream)
        with pytest.raises(EngineFailedError) as died, client.stream("2") as stream:
            list(stream)
        with pytest.raises(EngineFailedError) as stalled, client.stream("3") as stream:
            list(stream)
        assert client.generate("4").text == "fine"
    reasons = [error.value.reason for error in (refused, died, stalled)]
    assert reasons == ["ENGINE_UNAVAILABLE", "ENGINE_LOST", "ENGINE_STALLED"]
    assert [error.value.partial_text for error in (died, stalled)] == ["ab", "a"]


def test_settings_are_those_of_a_file() -> None:
    """With their messages, and without models, because the engine is scripted."""
    tenants = [{"name": "search", "key_env": "SEARCH_KEY"}]
    with pytest.raises(ValueError, match=r"settings\.limits\.max_readers: must be"):
        serve(settings={"limits": {"max_readers": 0}})
    with pytest.raises(ValueError, match=r"settings\.models: the engine is scripted"):
        serve(settings={"models": tenants})
    with pytest.raises(ValueError, match="there is no reply"), serve() as server:
        server.script()
    with (
        serve(model="llama", settings={"server_name": "here"}) as server,
        SyncTokenStreamClient(server.target) as client,
    ):
        whole = client.generate("x", model="llama")
    assert (whole.text, whole.generation.model, whole.generation.server) == ("Hello, world!", "llama", "here")


def test_a_server_that_cannot_start_says_why(monkeypatch) -> None:
    """In the block's first line, not in a thread."""
    monkeypatch.delenv("SEARCH_KEY", raising=False)
    server = serve(settings={"tenants": [{"name": "search", "key_env": "SEARCH_KEY"}]})
    with pytest.raises(Exception, match="SEARCH_KEY"), server:
        pass
    with pytest.raises(RuntimeError, match="is not running: use it in a `with`"):
        server.restart()
    with pytest.raises(RuntimeError, match="has been started already"), server:
        pass


async def test_servers_do_not_disturb_each_other() -> None:
    """Several run at once, each with its own script."""
    async with (
        serve("one") as one,
        serve("two") as two,
        TokenStreamClient(one.target) as first,
        TokenStreamClient(two.target) as second,
    ):
        answers = await asyncio.gather(first.generate("x"), second.generate("x"))
    assert [answer.text for answer in answers] == ["one", "two"]


def test_many_threads_share_a_server() -> None:
    """Each generation gets one reply, in the order of their starts."""
    with (
        serve(*map(str, range(8)), "rest") as server,
        SyncTokenStreamClient(server.target) as client,
        ThreadPoolExecutor(8) as threads,
    ):
        texts = list(threads.map(lambda _: client.generate("x").text, range(10)))
    assert sorted(texts) == [*map(str, range(8)), "rest", "rest"]
