"""Generations of every ending, on a server with the engines `a` and `b` of `several_engines`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.duration_pb2 import Duration
from tokenstreaming.v1 import generation_pb2, input_pb2
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.harness import Outcome, Served, collect, failing, read_until, until
from tests.support.scripted_engine import (
    Bytes,
    Done,
    Drop,
    Finish,
    Pause,
    Reset,
    Stall,
    Status,
    Text,
    UsageChunk,
)
from tests.support.several_engines import ANSWER
from tokengrpc.client.stubs import aio_stub

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tests.support.several_engines import Two

LIMITS = {
    "max_generations": 4,
    "replay_ttl": 0.2,
    "write_stall_timeout": 0.4,
    "first_token_timeout": 2.0,
    "inter_token_timeout": 2.0,
}
"""Limits of a server for these endings: short times, so that all is soon forgotten."""

CHAT = input_pb2.Conversation(
    messages=[input_pb2.ConversationMessage(role=input_pb2.ROLE_USER, text="Say hello.")]
)
SWITCHES = input_pb2.Recovery(max_engine_switch_count=2)
FAILS = Status(503, {"error": {"message": "overloaded"}})


def _duration(seconds: float) -> Duration:
    whole = int(seconds)
    return Duration(seconds=whole, nanos=round((seconds - whole) * 1e9))


def _detach(ttl: float = 0.1) -> input_pb2.Recovery:
    action = input_pb2.DISCONNECT_ACTION_DETACH
    return input_pb2.Recovery(disconnect_action=action, detach_ttl=_duration(ttl))


def _reason(outcome: Outcome) -> str:
    """Returns the reason of the error; empty without an error."""
    return outcome.info.reason if outcome.info else ""


async def _both(two: Two, *steps: Any, **request: Any) -> Outcome:
    """Runs a request while both engines answer with these steps. A class makes a new step for each run."""
    steps = tuple(step() if isinstance(step, type) else step for step in steps)
    two.a.script(*steps)
    two.b.script(*steps)
    return await collect(two.server.stream("g", **request))


def _ends(expected: str, *steps: Any, **request: Any) -> Callable[[Two], Awaitable[None]]:
    """Returns a generation that ends with this reason, which is that of its error if it has one."""

    async def run(two: Two) -> None:
        outcome = await _both(two, *steps, **request)
        reason = _reason(outcome)
        if not reason and outcome.finished is not None:
            number = outcome.finished.finish_reason
            reason = generation_pb2.FinishReason.Name(number).removeprefix("FINISH_REASON_")
        assert reason == expected, f"it ended by {reason!r}, not by {expected!r}"

    return run


async def _cancelled(two: Two) -> None:
    two.a.script(Text("One"), Stall())
    call = two.server.stream("g")
    await read_until(call, lambda m: m.tokens)
    await two.server.cancel("g")
    assert _reason(await collect(call)) == "CANCELLED"


async def _left(two: Two) -> None:
    two.a.script(Text("One"), Stall())
    call = two.server.stream("g")
    await read_until(call, lambda m: m.tokens)
    call.cancel()
    await (await two.a.called()).disconnected.wait()


async def _expired(two: Two) -> None:
    two.a.script(Text("One"), Stall())
    call = two.server.stream("g", recovery=_detach())
    await read_until(call, lambda m: m.tokens)
    call.cancel()
    await (await two.a.called()).disconnected.wait()


async def _resumed(two: Two) -> None:
    pause = Pause()
    two.a.script(Text("One"), pause, *ANSWER)
    call = two.server.stream("g", recovery=_detach(5.0))
    seen = await read_until(call, lambda m: m.tokens)
    call.cancel()
    await until(lambda: not two.server.tasks[-1].subscribers, "the reader has left")
    resumed = two.server.resume("g", seen[-1].sequence)
    await read_until(resumed, lambda m: m.HasField("attached"))
    pause.release()
    assert (await collect(resumed)).finished


async def _continued(two: Two) -> None:
    two.a.script(Text("Well"), Drop())
    two.b.script(Text(" said"), Finish(), UsageChunk(), Done())
    outcome = await collect(two.server.stream("g", conversation=CHAT, recovery=SWITCHES))
    assert outcome.text == "Well said"
    await _answered(two)


async def _answered(two: Two) -> None:
    """Runs a generation that ends well on engine `a`, so that its circuit breaker stays closed."""
    two.a.script(*ANSWER)
    assert (await collect(two.server.stream("well"))).finished


async def _failed_over(two: Two) -> None:
    two.a.script(FAILS)
    two.b.script(*ANSWER)
    assert (await collect(two.server.stream("g"))).finished
    await _answered(two)


async def _too_slow(two: Two) -> None:
    words = [f" {i:010000d}" for i in range(400)]
    two.a.script(*(Text(*words[i : i + 50]) for i in range(0, len(words), 50)), *ANSWER[1:])
    small = (("grpc.http2.bdp_probe", 0), ("grpc.use_local_subchannel_pool", 1))
    async with grpc.aio.insecure_channel(two.server.target, options=small) as channel:
        slow = Served(two.server.server, channel, aio_stub(channel))
        call = slow.stream("g", recovery=_detach(5.0))
        await read_until(call, lambda m: m.tokens)
        await until(lambda: not two.server.tasks[-1].subscribers, "the reader was too slow")
        assert _reason(await collect(call)) == "READER_TOO_SLOW"


async def _refused(two: Two) -> None:
    two.a.script(pause := Pause(), *ANSWER)
    running = [two.server.stream(f"running{i}") for i in range(int(LIMITS["max_generations"]))]
    await until(lambda: two.server.registry.active == len(running), "they run")
    assert _reason(await collect(two.server.stream("g"))) == "OVERLOADED"
    pause.release()
    for call in running:
        assert (await collect(call)).finished


async def _unary(two: Two) -> None:
    two.a.script(*ANSWER)
    request = pb.GenerateTextRequest(request=pb.StreamTokensRequest(prompt="hello"))
    assert (await two.server.stub.GenerateText(request)).text == "Well said"
    two.a.script(Text("One"), Drop())
    assert _reason(await failing(two.server.stub.GenerateText(request))) == "ENGINE_LOST"
    request.request.model = "unknown"
    assert _reason(await failing(two.server.stub.GenerateText(request))) == "MODEL_NOT_FOUND"


async def _unknown(two: Two) -> None:
    assert _reason(await collect(two.server.resume("unknown"))) == "GENERATION_NOT_FOUND"


ENDINGS: Mapping[str, Callable[[Two], Awaitable[None]]] = {
    "stop": _ends("END", *ANSWER),
    "length": _ends(
        "MAX_TOKENS", Text("One"), Finish("length"), UsageChunk(), Done(), max_output_token_count=1
    ),
    "deadline, partial": _ends(
        "DEADLINE",
        Text("One"),
        Stall,
        timeout=1.5,
        limits=input_pb2.Limits(
            deadline_action=input_pb2.DEADLINE_ACTION_FINISH_PARTIAL, deadline_margin=_duration(1.2)
        ),
    ),
    "deadline, failed": _ends(
        "DEADLINE_EXCEEDED",
        Text("One"),
        Stall,
        timeout=1.5,
        limits=input_pb2.Limits(deadline_margin=_duration(1.2)),
    ),
    "time limit": _ends("TIME_LIMIT", Text("One"), Stall, limits=input_pb2.Limits(time_limit=_duration(0.3))),
    "stalled": _ends("ENGINE_STALLED", Stall, limits=input_pb2.Limits(first_token_timeout=_duration(0.1))),
    "cancelled": _cancelled,
    "last reader left": _left,
    "detached and expired": _expired,
    "resumed": _resumed,
    "engine fails before output": _ends("ENGINE_UNAVAILABLE", FAILS),
    "engine resets before output": _ends("ENGINE_UNAVAILABLE", Reset()),
    "engine lost": _ends("ENGINE_LOST", Text("One"), Drop()),
    "truncated": _ends("ENGINE_TRUNCATED", Text("One")),
    "undecodable": _ends("ENGINE_PROTOCOL_ERROR", Text("One"), Bytes(b"data: {]\n\n")),
    "event too long": _ends("ENGINE_PROTOCOL_ERROR", Text("One"), Bytes(b"data: " + b"x" * 70_000)),
    "failed over": _failed_over,
    "continued": _continued,
    "reader too slow": _too_slow,
    "refused at admission": _refused,
    "invalid request": _ends("INVALID_REQUEST", *ANSWER, sampling=input_pb2.Sampling(temperature=9)),
    "unknown model": _ends("MODEL_NOT_FOUND", *ANSWER, model="unknown"),
    "unknown generation": _unknown,
    "GenerateText": _unary,
}
"""What happens to a generation by its name. Each runs it, and checks that it ended so."""


async def forgotten(server: Served) -> None:
    """Waits until the server runs and keeps no generation."""
    await until(lambda: not server.tasks and not server.registry.active, "all are forgotten")
    await asyncio.sleep(0)
