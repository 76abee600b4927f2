"""The access log: a line for each call. Of calls that are rejected alike, one line a second, and a sum."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from tokengrpc.errors import Overloaded
from tokengrpc.wire.status import CODES, Code

if TYPE_CHECKING:
    from tokengrpc.errors import TokenGrpcError
    from tokengrpc.rpc.call import RpcCall

SUMMED_SECONDS = 1.0

log = structlog.get_logger("tokengrpc.access")


class AccessLog:
    """Log of the ends of calls.

    Thousands of calls that are rejected at one moment would otherwise wait for each other's lines.
    """

    def __init__(self) -> None:
        # The number of calls that have no line, by what they have in common.
        self._summed: dict[tuple[str, str, str], int] = {}

    def ended(self, call: RpcCall) -> None:
        """Notes a call that ended well."""
        _line(call, Code.OK, "", "info")

    def left(self, call: RpcCall, code: Code) -> None:
        """Notes a call whose caller left, or whose deadline passed: `code` says which."""
        _line(call, code, "", "info")

    def failed(self, call: RpcCall, error: TokenGrpcError) -> None:
        """Notes a call that ended with an error."""
        cause = error.metadata.get("cause", "") if isinstance(error, Overloaded) else ""
        if cause:
            alike = (call.method, call.identity.tenant.name, cause)
            if alike in self._summed:
                self._summed[alike] += 1
                return
            self._summed[alike] = 0
            asyncio.get_running_loop().call_later(SUMMED_SECONDS, self._tell, alike)
        code = CODES[error.reason]
        _line(call, code, error.reason, "warning" if code is Code.INTERNAL else "info")

    def flush(self) -> None:
        """Logs all sums now."""
        for alike in list(self._summed):
            self._tell(alike)

    def _tell(self, alike: tuple[str, str, str]) -> None:
        count = self._summed.pop(alike, 0)
        if count:
            method, tenant, cause = alike
            log.info("more calls were rejected", method=method, tenant=tenant, cause=cause, count=count)


def _line(call: RpcCall, code: Code, reason: str, level: str) -> None:
    getattr(log, level)(
        "call",
        method=call.method,
        tenant=call.identity.tenant.name,
        generation_id=call.generation_id,
        code=code.name,
        reason=str(reason),
        seconds=round(time.monotonic() - call.began, 6),
        caller=call.peer.shown,
        trace_id=call.trace.trace_id,
    )
