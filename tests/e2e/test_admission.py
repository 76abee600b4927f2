"""Many starts at one moment: each call completes, or is rejected by us with a reason and a delay."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from google.rpc import error_details_pb2
from tokenstreaming.v1 import token_stream_pb2 as api

from tests.e2e.test_grpc_limits import connected, unread_bytes
from tests.support.commands import serving
from tests.support.harness import collect

pytestmark = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="no /proc/net/tcp here")

STARTS = 1_000
CONNECTIONS = 10
ALWAYS_ADMITTED = 8
# At least as long are the frames of one start.
START_BYTES = 38


@pytest.fixture(scope="module")
def server():
    variables = {"TOKENGRPC_LIMITS_MIN_GENERATIONS": str(ALWAYS_ADMITTED)}
    with serving("--pace", "50", **variables) as started:
        yield started


async def burst(server, stubs, requests, last=()):
    """Starts the requests, then the functions `last`. The server finds all in its sockets at one moment."""
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        calls = [
            stubs[n % len(stubs)].StreamTokens(request, timeout=90) for n, request in enumerate(requests)
        ]
        reading = [asyncio.ensure_future(collect(call)) for call in calls]
        async with asyncio.timeout(60):
            while unread_bytes(server) < len(calls) * START_BYTES:  # noqa: ASYNC110 - the kernel has no event for it
                await asyncio.sleep(0.01)
        others = [asyncio.ensure_future(call()) for call in last]
        await asyncio.sleep(0)
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    return reading, others


async def test_each_start_completes_or_is_rejected_with_a_delay(server):
    """Of 1,000 streams of 50 tokens a second, as many run as a core can serve. No call just times out."""
    requests = [api.StreamTokensRequest(prompt="a", max_output_token_count=100) for _ in range(STARTS)]
    async with connected(server, CONNECTIONS) as stubs:
        reading, _ = await burst(server, stubs, requests)
        outcomes = await asyncio.gather(*reading)
    finished = [outcome for outcome in outcomes if outcome.finished is not None]
    rejected = [outcome for outcome in outcomes if outcome.finished is None]
    assert {outcome.code.name for outcome in finished} == {"OK"}
    assert Counter(outcome.info and outcome.info.reason for outcome in rejected) == {
        "OVERLOADED": len(rejected)
    }
    assert len(finished) >= ALWAYS_ADMITTED
    assert rejected
    assert all(outcome.info.metadata["cause"] for outcome in rejected)
    delays = [outcome.detail(error_details_pb2.RetryInfo).retry_delay.ToNanoseconds() for outcome in rejected]
    assert min(delays) > 0
    assert len(set(delays)) > len(delays) / 2


async def test_rejected_calls_are_summed_in_the_log():
    """A line for the first one of each cause in a second, and sums that miss none."""
    variables = {"TOKENGRPC_LIMITS_MIN_GENERATIONS": str(ALWAYS_ADMITTED)}
    with serving("--pace", "50", "--log-level", "info", **variables) as started:
        requests = [api.StreamTokensRequest(prompt="a", max_output_token_count=100) for _ in range(STARTS)]
        async with connected(started, CONNECTIONS) as stubs:
            reading, _ = await burst(started, stubs, requests)
            outcomes = await asyncio.gather(*reading)
        started.stop()
        lines = [json.loads(line) for line in started.log().splitlines()]
    rejected = sum(outcome.finished is None for outcome in outcomes)
    single = [line for line in lines if line["event"] == "call" and line.get("reason") == "OVERLOADED"]
    sums = [line["count"] for line in lines if line["event"] == "more calls were rejected"]
    assert len(single) + sum(sums) == rejected
    assert len(single) + len(sums) < rejected / 4


async def test_a_burst_of_starts_does_not_hold_up_other_calls(server):
    """A call of another method that came last is answered before most starts. A reader is not rejected."""
    running = api.StreamTokensRequest(generation_id="running", prompt="a", max_output_token_count=1_000)
    async with connected(server, CONNECTIONS) as stubs:
        first = stubs[0].StreamTokens(running)
        await first.read()
        ended = 0

        def count(_: object) -> None:
            nonlocal ended
            ended += 1

        async def look_up() -> int:
            answer = await stubs[0].GetGeneration(
                api.GetGenerationRequest(generation_id="running"), timeout=90
            )
            assert answer.generation.generation_id == "running"
            return ended

        async def attach() -> object:
            second = stubs[1].StreamTokens(running, timeout=90)
            message = await second.read()
            second.cancel()
            return message

        requests = [api.StreamTokensRequest(prompt="a", max_output_token_count=100) for _ in range(STARTS)]
        reading, others = await burst(server, stubs, requests, last=[look_up, attach])
        for call in reading:
            call.add_done_callback(count)
        ended_before, attached = await asyncio.gather(*others)
        assert ended_before < STARTS / 2
        assert attached.HasField("attached")
        first.cancel()
        await asyncio.gather(*reading)


def test_this_grpc_has_what_accepts_several_calls_at_once():
    """`rpc/acceptors.py` uses private parts of grpc.aio. Without them, the server logs a warning."""
    with serving("--log-level", "warning") as started:
        assert "one by one" not in started.log()
