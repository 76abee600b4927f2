"""Reports of calls: their start and end, with the true status, to the access log and the observers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tokengrpc.core.deadline import rounding_unit
from tokengrpc.core.ports.observer import CallEnded, CallStarted
from tokengrpc.core.trace import trace_of
from tokengrpc.errors import LimitError
from tokengrpc.wire.status import CODES, Code

if TYPE_CHECKING:
    from tokengrpc.errors import TokenGrpcError
    from tokengrpc.generations.observers import Observers
    from tokengrpc.rpc.access_log import AccessLog
    from tokengrpc.rpc.call import RpcCall


class CallReports:
    """Reports each call once when it starts, and once when it ends."""

    def __init__(self, access_log: AccessLog, observers: Observers) -> None:
        self._access_log = access_log
        self._observers = observers

    def started(self, call: RpcCall) -> None:
        """Reports a call that has arrived, and finds its place in a trace."""
        caller = trace_of(call.metadata)
        call.trace = self._observers.begin(
            CallStarted(method=call.method, peer=call.peer.address, trace=caller)
        )

    def ended(self, call: RpcCall) -> None:
        """Reports a call that ended well."""
        self._access_log.ended(call)
        self._emit(call, Code.OK)

    def left(self, call: RpcCall) -> None:
        """Reports a call whose caller left, or whose deadline passed."""
        code = Code.DEADLINE_EXCEEDED if _expired(call) else Code.CANCELLED
        self._access_log.left(call, code)
        self._emit(call, code)

    def failed(self, call: RpcCall, error: TokenGrpcError) -> None:
        """Reports a call that ended with an error."""
        self._access_log.failed(call, error)
        limit = error.limit if isinstance(error, LimitError) else None
        self._emit(call, CODES[error.reason], error.reason, limit.name if limit else "")

    def _emit(self, call: RpcCall, code: Code, reason: str = "", limit: str = "") -> None:
        self._observers.emit(
            CallEnded(
                method=call.method,
                tenant=call.identity.tenant.name,
                code=code.name,
                reason=str(reason),
                seconds=time.monotonic() - call.began,
                sent_bytes=call.sent_bytes,
                received_bytes=call.received_bytes,
                generation_id=call.generation_id,
                limit=limit,
                trace=call.trace,
            )
        )


def _expired(call: RpcCall) -> bool:
    """Returns whether the caller's deadline has passed.

    Clients whose timeout was rounded up leave by so much before the deadline that the server knows.
    """
    left = call.deadline_left
    return left is not None and left <= rounding_unit(left + time.monotonic() - call.began)
