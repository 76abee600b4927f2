"""How a stream shall live and end: what a caller asks, written into its request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args
from uuid import uuid4

from tokenstreaming.v1 import input_pb2, token_stream_pb2

OnDeadline = Literal["fail", "partial"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How one stream is opened, kept and ended.

    `request` is None for a stream that only reads a generation which another call started. `resumable`
    streams survive a dropped connection. `own_id` is False when the caller chose the id, which is then kept
    in repeated calls. `timeout` (seconds) ends the stream; `fails_at_time_limit` says that the time limit
    in the request stands for it and that reaching it is an error.
    """

    generation_id: str
    request: token_stream_pb2.StreamTokensRequest | None = None
    after: int = 0
    resumable: bool = True
    own_id: bool = False
    timeout: float | None = None
    fails_at_time_limit: bool = False


def new_id() -> str:
    """A new id for a generation."""
    return uuid4().hex


def time_limit_for(timeout: float) -> float:
    """The time limit of a generation whose stream has a timeout: its end must arrive before that, in seconds.

    The server cuts the stream one margin before the timeout (250 ms plus the unit to which gRPC rounds
    timeouts up, at most a fifth: the contract's default); the generation ends half a margin earlier.
    """
    units = ((10, 0.01), (100, 0.1), (1_000, 1.0))
    unit = next((unit for below, unit in units if timeout < below), 10.0)
    return timeout - 1.5 * min(0.25 + unit, timeout / 5)


def plan_stream(
    request: token_stream_pb2.StreamTokensRequest,
    *,
    generation_id: str | None = None,
    resumable: bool = True,
    timeout: float | None = None,
    on_deadline: OnDeadline = "fail",
) -> Plan:
    """Completes a request so that its stream lives as asked; changes it.

    A request that asks for DISCONNECT_ACTION_CANCEL itself is not resumable. Raises ValueError for a
    timeout that is not positive and for another `on_deadline` than "fail" and "partial".
    """
    if on_deadline not in get_args(OnDeadline):
        raise ValueError(f'on_deadline: {on_deadline!r} is unknown; give "fail" or "partial"')
    if timeout is not None and timeout <= 0:
        raise ValueError(f"timeout: {timeout} s is over already; give a positive number of seconds or None")
    request.generation_id = generation_id or request.generation_id
    own_id = not request.generation_id
    if own_id:
        request.generation_id = new_id()
    recovery = request.recovery
    if recovery.disconnect_action == input_pb2.DISCONNECT_ACTION_UNSPECIFIED:
        recovery.disconnect_action = (
            input_pb2.DISCONNECT_ACTION_DETACH if resumable else input_pb2.DISCONNECT_ACTION_CANCEL
        )
    resumable = resumable and recovery.disconnect_action == input_pb2.DISCONNECT_ACTION_DETACH
    limited = timeout is not None and resumable and _limit_time(request, timeout)
    if timeout is not None and not resumable:
        request.limits.deadline_action = (
            input_pb2.DEADLINE_ACTION_FAIL
            if on_deadline == "fail"
            else input_pb2.DEADLINE_ACTION_FINISH_PARTIAL
        )
    return Plan(
        generation_id=request.generation_id,
        request=request,
        resumable=resumable,
        own_id=own_id,
        timeout=timeout,
        fails_at_time_limit=limited and on_deadline == "fail",
    )


def _limit_time(request: token_stream_pb2.StreamTokensRequest, timeout: float) -> bool:
    """Lets the generation end on the server before the timeout; False when it has a smaller limit already."""
    limit = time_limit_for(timeout)
    if request.limits.HasField("time_limit"):
        asked = request.limits.time_limit.ToNanoseconds() / 1e9
        if asked <= limit:
            return False
    request.limits.time_limit.FromNanoseconds(int(limit * 1e9))
    return True
