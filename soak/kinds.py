"""The kinds of endings, each with what its callers do and the outcome that is due."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc
from tokenstreaming.v1 import generation_pb2 as gen
from tokenstreaming.v1 import input_pb2
from tokenstreaming.v1 import token_stream_pb2 as pb

from attack import http2
from tests.support.harness import check_gapless, collect, failing, read_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.harness import Outcome
    from tokengrpc.client.stubs import AioStub

_TOKENS = 30
_ALL = frozenset({("OK", "", "MAX_TOKENS")})
# The builtin model may choose to end earlier.
_WHOLE = _ALL | {("OK", "", "END")}
_SECONDS: Final = 30.0
_POLL_S: Final = 0.05
_DEADLINE_S: Final = 3.0
_MARGIN_S: Final = 2.4

Told = tuple[str, str, str]
"""Code, reason and finish reason of an ending."""


@dataclass(frozen=True)
class Caller:
    """What a kind needs: a stub, and the server's address for sockets of its own."""

    stub: AioStub
    target: str


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of ending. `weight` is its share of all calls."""

    run: Callable[[Caller], Awaitable[Told]]
    due: frozenset[Told]
    weight: int = 10


def _told(outcome: Outcome, after: int = 0) -> Told:
    check_gapless(outcome.messages, after)
    finish = ""
    if outcome.finished is not None:
        finish = gen.FinishReason.Name(outcome.finished.finish_reason).removeprefix("FINISH_REASON_")
    return outcome.code.name, outcome.info.reason if outcome.info is not None else "", finish


def _request(model: str = "steady", **fields: Any) -> pb.StreamTokensRequest:
    fields = {"prompt": "What is token streaming?", "max_output_token_count": _TOKENS, **fields}
    return pb.StreamTokensRequest(model=model, **fields)


def _endless(**fields: Any) -> pb.StreamTokensRequest:
    """Returns a request whose engine stalls for good after some tokens."""
    request = _request("faulty", **fields)
    request.engine_params.update({"faults": {"stall_at_token": 5}})
    return request


def _timed(action: input_pb2.DeadlineAction) -> pb.StreamTokensRequest:
    """Returns a request that ends long before its caller gives up, however busy the machine is."""
    request = _endless(limits=input_pb2.Limits(deadline_action=action))
    request.limits.deadline_margin.FromMilliseconds(round(_MARGIN_S * 1000))
    return request


def _detached(**recovery: Any) -> dict[str, Any]:
    detach = input_pb2.Recovery(disconnect_action=input_pb2.DISCONNECT_ACTION_DETACH, **recovery)
    return {"generation_id": uuid.uuid4().hex, "recovery": detach}


async def _stream(caller: Caller, request: pb.StreamTokensRequest, timeout: float = _SECONDS) -> Told:
    return _told(await collect(caller.stub.StreamTokens(request, timeout=timeout)))


async def _resume(caller: Caller, generation_id: str, after: int) -> Told:
    request = pb.ResumeTokensRequest(generation_id=generation_id, after_sequence=after)
    return _told(await collect(caller.stub.ResumeTokens(request, timeout=_SECONDS)), after)


async def _drop(caller: Caller, request: pb.StreamTokensRequest) -> int:
    """Starts a stream, cancels the call after a token, and returns the last sequence."""
    call = caller.stub.StreamTokens(request, timeout=_SECONDS)
    last = (await read_until(call, lambda message: message.tokens))[-1].sequence
    call.cancel()
    return last


async def _ended(caller: Caller, generation_id: str) -> Told:
    """Waits for the end of a generation, and returns how it ended."""
    running = {gen.GENERATION_STATE_QUEUED, gen.GENERATION_STATE_PREFILLING, gen.GENERATION_STATE_GENERATING}
    request = pb.GetGenerationRequest(generation_id=generation_id)
    while (got := (await caller.stub.GetGeneration(request)).generation).state in running:  # noqa: ASYNC110 - the contract has no event for it
        await asyncio.sleep(_POLL_S)
    return await _resume(caller, generation_id, got.last_sequence - 1)


async def complete(caller: Caller) -> Told:
    """Reads an answer to its end."""
    return await _stream(caller, _request())


async def unary(caller: Caller) -> Told:
    """Asks for the whole answer at once."""
    answer = await caller.stub.GenerateText(pb.GenerateTextRequest(request=_request()), timeout=_SECONDS)
    reason = gen.FinishReason.Name(answer.generation.finished.finish_reason)
    return "OK", "", reason.removeprefix("FINISH_REASON_")


async def left(caller: Caller) -> Told:
    """Leaves after the first token, which cancels the generation."""
    request = _endless(generation_id=uuid.uuid4().hex)
    await _drop(caller, request)
    return await _ended(caller, request.generation_id)


async def cancelled(caller: Caller) -> Told:
    """Is cancelled by another call."""
    request = _endless(generation_id=uuid.uuid4().hex)
    call = caller.stub.StreamTokens(request, timeout=_SECONDS)
    begun = await read_until(call, lambda message: message.tokens)
    await caller.stub.CancelGeneration(pb.CancelGenerationRequest(generation_id=request.generation_id))
    outcome = await collect(call)
    outcome.messages[:0] = begun
    return _told(outcome)


async def deadline(caller: Caller) -> Told:
    """Runs out of time, and fails."""
    return await _stream(caller, _timed(input_pb2.DEADLINE_ACTION_FAIL), timeout=_DEADLINE_S)


async def partial(caller: Caller) -> Told:
    """Runs out of time, and keeps what there is."""
    return await _stream(caller, _timed(input_pb2.DEADLINE_ACTION_FINISH_PARTIAL), timeout=_DEADLINE_S)


async def time_limit(caller: Caller) -> Told:
    """Reaches its own time limit."""
    limits = input_pb2.Limits()
    limits.time_limit.FromMilliseconds(300)
    return await _stream(caller, _endless(limits=limits))


async def resumed(caller: Caller) -> Told:
    """Drops, and resumes after the last sequence."""
    request = _request(**_detached())
    return await _resume(caller, request.generation_id, await _drop(caller, request))


async def expired(caller: Caller) -> Told:
    """Drops, and never comes back in time."""
    fields = _detached()
    fields["recovery"].detach_ttl.FromMilliseconds(100)
    request = _endless(**fields)
    await _drop(caller, request)
    return await _ended(caller, request.generation_id)


async def failover(caller: Caller) -> Told:
    """Loses its engine half of the time, and is continued by another one."""
    return await _stream(caller, _request("pair", recovery=input_pb2.Recovery(max_engine_switch_count=1)))


async def invalid(caller: Caller) -> Told:
    """Asks for what is not allowed."""
    return await _stream(caller, _request(sampling=input_pb2.Sampling(temperature=9.0)))


async def unknown_model(caller: Caller) -> Told:
    """Asks for a model that does not exist."""
    return await _stream(caller, _request("nobody"))


async def unknown_generation(caller: Caller) -> Told:
    """Looks up a generation that does not exist."""
    return _told(await failing(caller.stub.GetGeneration(pb.GetGenerationRequest(generation_id="nobody"))))


async def slow_reader(caller: Caller) -> Told:
    """Reads nothing until the server ends the stream, then resumes over another connection and reads all."""
    request = _request("fast", **_detached())
    request.max_output_token_count = 4_000
    request.output.top_logprob_count = 5
    host, _, port = caller.target.rpartition(":")
    # Without WINDOW_UPDATE, the server may send 64 KiB.
    reader, writer = await asyncio.open_connection(host, int(port))
    body = http2.message(request.SerializeToString())
    call = http2.header_frames(1, http2.call_fields()) + http2.data_frames(1, body)
    writer.write(http2.PREFACE + http2.frame(http2.SETTINGS) + http2.frame(http2.SETTINGS, http2.ACK) + call)
    try:
        async with asyncio.timeout(_SECONDS):
            while not await _reader_is_gone(caller, request.generation_id):  # noqa: ASYNC110 - as above
                await asyncio.sleep(_POLL_S)
    finally:
        writer.close()
        del reader  # it keeps the connection open until here
    return await _resume(caller, request.generation_id, 0)


async def _reader_is_gone(caller: Caller, generation_id: str) -> bool:
    try:
        got = await caller.stub.GetGeneration(pb.GetGenerationRequest(generation_id=generation_id))
    except grpc.aio.AioRpcError:  # the request has not arrived yet
        return False
    return got.generation.reader_count == 0


def _fault(plan: dict[str, Any], **limits: float) -> Callable[[Caller], Awaitable[Told]]:
    async def run(caller: Caller) -> Told:
        request = _request("faulty")
        request.engine_params.update({"faults": plan})
        for name, seconds in limits.items():
            getattr(request.limits, name).FromNanoseconds(round(seconds * 1e9))
        return await _stream(caller, request)

    return run


def _one(code: str, reason: str, finish: str = "") -> frozenset[Told]:
    return frozenset({(code, reason, finish)})


_LOST = _one("UNAVAILABLE", "ENGINE_LOST", "ERROR")

KINDS: Final[dict[str, Kind]] = {
    "complete": Kind(run=complete, due=_WHOLE, weight=40),
    "GenerateText": Kind(run=unary, due=_WHOLE),
    "caller leaves": Kind(run=left, due=_one("CANCELLED", "CANCELLED", "CANCELLED")),
    "CancelGeneration": Kind(run=cancelled, due=_one("CANCELLED", "CANCELLED", "CANCELLED")),
    "deadline, fail": Kind(run=deadline, due=_one("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", "DEADLINE")),
    "deadline, partial": Kind(run=partial, due=_one("OK", "", "DEADLINE")),
    "time limit": Kind(run=time_limit, due=_one("OK", "", "TIME_LIMIT")),
    "drop, resume": Kind(run=resumed, due=_WHOLE, weight=20),
    "drop, expire": Kind(run=expired, due=_one("CANCELLED", "DETACH_EXPIRED", "CANCELLED")),
    "failover": Kind(run=failover, due=_WHOLE),
    "slow reader": Kind(run=slow_reader, due=_WHOLE, weight=1),
    "invalid request": Kind(run=invalid, due=_one("INVALID_ARGUMENT", "INVALID_REQUEST")),
    "unknown model": Kind(run=unknown_model, due=_one("NOT_FOUND", "MODEL_NOT_FOUND")),
    "unknown generation": Kind(run=unknown_generation, due=_one("NOT_FOUND", "GENERATION_NOT_FOUND")),
    "engine lost": Kind(run=_fault({"cut_at_token": 5}), due=_LOST),
    "engine aborted": Kind(run=_fault({"abort_at_token": 5}), due=_one("ABORTED", "ENGINE_ABORTED", "ERROR")),
    "engine truncated": Kind(
        run=_fault({"end_at_token": 5}), due=_one("UNAVAILABLE", "ENGINE_TRUNCATED", "ERROR")
    ),
    "engine malformed": Kind(
        run=_fault({"malformed_at_token": 5}), due=_one("INTERNAL", "ENGINE_PROTOCOL_ERROR", "ERROR")
    ),
    "engine refused": Kind(run=_fault({"status": 400}), due=_one("INVALID_ARGUMENT", "INVALID_REQUEST")),
    "engine stalled": Kind(
        run=_fault({"stall_at_token": 5}, inter_token_timeout=0.3),
        due=_one("UNAVAILABLE", "ENGINE_STALLED", "ERROR"),
    ),
}
