"""Interceptor of every call: authentication, conversion of errors to statuses, and the access log."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

import structlog

from tokengrpc.errors import Advice, Internal, TokenGrpcError
from tokengrpc.wire.status import Code, status_of

if TYPE_CHECKING:
    from tokengrpc.core.ports.auth import Authenticator
    from tokengrpc.generations.patience import StorePatience
    from tokengrpc.rpc.call import Handler, RpcCall

R = TypeVar("R")

log = structlog.get_logger("tokengrpc.access")

_BUG = "the server failed: try again; its log has the details"


class CallFailed(Exception):
    """Wrapper of a generation's error, which its streams share: raising it directly would chain contexts."""

    def __init__(self, error: TokenGrpcError) -> None:
        super().__init__(error.message)
        self.error = error


class CallInterceptor:
    """Runs handlers and converts their exceptions: gRPC would send internal details as UNKNOWN."""

    def __init__(self, authenticator: Authenticator, patience: StorePatience) -> None:
        """Takes the authenticator, and the patience that bounds calls of it."""
        self._authenticator = authenticator
        self._patience = patience

    async def run(self, handler: Handler[R], data: bytes, call: RpcCall) -> R | None:
        """Runs a handler. Returns its response; None if the call ended with an error."""
        try:
            call.identity = await self._patience.once(
                lambda: self._authenticator.authenticate(call.metadata, call.peer)
            )
            response = await handler(data, call)
        except asyncio.CancelledError:
            _log(call, Code.CANCELLED.name, "", "info")
            raise
        except CallFailed as failed:
            error = failed.error
        except TokenGrpcError as raised:
            error = raised
        except Exception:
            log.exception("unexpected error in a call", method=call.method)
            error = Internal(_BUG)
        else:
            _log(call, Code.OK.name, "", "info")
            return response
        await _fail(call, error)
        return None


async def _fail(call: RpcCall, error: TokenGrpcError) -> None:
    try:
        failure = call.failure() if call.failure is not None else None
        status = status_of(error, failure)
    except Exception:
        log.exception("unexpected error while building a status", method=call.method, reason=error.reason)
        failure, error = None, Internal(_BUG)
        status = status_of(error)
    level = "warning" if status.code == Code.INTERNAL else "info"
    _log(call, Code(status.code).name, error.reason, level)
    await call.fail(status, pushback_ms(error, ended=failure is not None and failure.ended))


def pushback_ms(error: TokenGrpcError, *, ended: bool) -> int | None:
    """Returns the value of `grpc-retry-pushback-ms`: -1 if repeating the same call cannot succeed.

    See gRPC proposal A6. None if there is nothing to send.
    """
    if ended or error.advice is Advice.NEVER:
        return -1
    return None if error.retry_after is None else round(error.retry_after * 1000)


def _log(call: RpcCall, code: str, reason: str, level: str) -> None:
    getattr(log, level)(
        "call",
        method=call.method,
        tenant=call.identity.tenant.name,
        generation_id=call.generation_id,
        code=code,
        reason=str(reason),
        seconds=round(time.monotonic() - call.began, 6),
    )
