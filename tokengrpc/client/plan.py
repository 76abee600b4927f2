"""Stream plans: the caller's stream options, written into the request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import uuid4

from tokenstreaming.v1 import input_pb2, token_stream_pb2

from tokengrpc.client.cursor import Cursor

OnDeadline = Literal["fail", "partial"]
_DEADLINE_ACTIONS: dict[OnDeadline, input_pb2.DeadlineAction] = {
    "fail": input_pb2.DEADLINE_ACTION_FAIL,
    "partial": input_pb2.DEADLINE_ACTION_FINISH_PARTIAL,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Settings of one stream.

    Reading begins after `cursor`. `request` is None for a read-only stream: one that reads a generation which
    another call started. A `resumable` stream resumes after a dropped connection. With `cancel_on_close`, a
    read-only stream cancels the generation when its caller stops. `timeout` is in seconds and covers all
    calls of the stream together.
    """

    cursor: Cursor
    request: token_stream_pb2.StreamTokensRequest | None = None
    resumable: bool = True
    cancel_on_close: bool = False
    timeout: float | None = None


def plan_resume(cursor: Cursor | str, *, cancel_on_close: bool = False, timeout: float | None = None) -> Plan:
    """Returns the plan of a read-only stream.

    Raises InvalidRequestError (INVALID_CURSOR) for an invalid cursor or text, ValueError if `timeout` is not
    positive.
    """
    _check_timeout(timeout)
    return Plan(cursor=Cursor.parse(str(cursor)), cancel_on_close=cancel_on_close, timeout=timeout)


def plan_stream(
    request: token_stream_pb2.StreamTokensRequest,
    *,
    generation_id: str | None = None,
    resumable: bool = True,
    timeout: float | None = None,
    on_deadline: OnDeadline = "fail",
) -> Plan:
    """Fills unset fields of `request` from the stream options, in place, and returns the plan.

    If the request itself sets DISCONNECT_ACTION_CANCEL, the stream is not resumable. Raises ValueError if
    `timeout` is not positive, or if `on_deadline` is neither "fail" nor "partial".
    """
    if on_deadline not in _DEADLINE_ACTIONS:
        raise ValueError(f'on_deadline: {on_deadline!r} is unknown; pass "fail" or "partial"')
    _check_timeout(timeout)
    request.generation_id = generation_id or request.generation_id or uuid4().hex
    recovery, limits = request.recovery, request.limits
    if recovery.disconnect_action == input_pb2.DISCONNECT_ACTION_UNSPECIFIED:
        recovery.disconnect_action = (
            input_pb2.DISCONNECT_ACTION_DETACH if resumable else input_pb2.DISCONNECT_ACTION_CANCEL
        )
    if timeout is not None and limits.deadline_action == input_pb2.DEADLINE_ACTION_UNSPECIFIED:
        limits.deadline_action = _DEADLINE_ACTIONS[on_deadline]
    return Plan(
        cursor=Cursor(request.generation_id),
        request=request,
        resumable=resumable and recovery.disconnect_action == input_pb2.DISCONNECT_ACTION_DETACH,
        timeout=timeout,
    )


def _check_timeout(timeout: float | None) -> None:
    try:
        positive = timeout is None or not timeout <= 0
    except TypeError as error:
        raise TypeError(f"timeout: {timeout!r} is not a number; pass seconds or None") from error
    if not positive:
        raise ValueError(f"timeout: {timeout} s is not positive; pass a positive number of seconds or None")
