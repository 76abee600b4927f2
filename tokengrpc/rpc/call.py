"""What surrounds every call: who it is, its errors as statuses, one line in the log."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import grpc
import structlog
from grpc._cython.cygrpc import ExecuteBatchError
from grpc_status import rpc_status

from tokengrpc.errors import Advice, Internal, TokenGrpcError
from tokengrpc.rpc.auth import NOBODY
from tokengrpc.wire.status import status_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tokengrpc.core.tenant import Tenant
    from tokengrpc.rpc.auth import Authenticator
    from tokengrpc.wire.status import Failure

R_co = TypeVar("R_co", covariant=True)
Context = grpc.aio.ServicerContext[bytes, bytes]

log = structlog.get_logger("tokengrpc.access")


class CallFailed(Exception):
    """The generation ended with this error, which all its readers share: raising itself would chain them."""

    def __init__(self, error: TokenGrpcError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(slots=True, kw_only=True)
class RpcCall:
    """One RPC under way. `failure` tells its errors' generation as it is then, once one is concerned."""

    method: str
    context: Context
    tenant: Tenant = NOBODY
    generation_id: str = ""
    failure: Callable[[], Failure] | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def deadline_left(self) -> float | None:
        """Seconds until the caller's deadline; None without one."""
        return self.context.time_remaining()


class Handler(Protocol[R_co]):
    """The body of an RPC: takes the request's bytes."""

    def __call__(self, data: bytes, call: RpcCall) -> Awaitable[R_co]:
        """Answers or raises."""


class CallInterceptor:
    """Wraps the bodies of RPCs. No exception leaves it as gRPC's UNKNOWN, which would tell our internals."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    def __call__(self, name: str, method: Handler[R_co]) -> Callable[[bytes, Context], Awaitable[R_co]]:
        """A handler for grpc.aio."""

        async def handle(data: bytes, context: Context) -> R_co:
            call = RpcCall(method=name, context=context)
            try:
                call.tenant = self._authenticator.tenant(context.invocation_metadata())
                answer = await method(data, call)
            except asyncio.CancelledError:
                _log(call, "CANCELLED", "", "info")
                raise
            except CallFailed as failed:
                error = failed.error
            except TokenGrpcError as raised:
                error = raised
            except Exception:
                log.exception("call failed by a bug", method=name)
                error = Internal("the server failed: try again; its log has the details")
            else:
                _log(call, "OK", "", "info")
                return answer
            await _abort(call, error)
            raise AssertionError("abort raises")

        return handle


async def _abort(call: RpcCall, error: TokenGrpcError) -> None:
    try:
        failure = call.failure() if call.failure is not None else None
        status = rpc_status.to_status(status_of(error, failure))
    except Exception:
        log.exception("a status could not be made", method=call.method, reason=error.reason)
        failure, error = None, Internal("the server failed: try again; its log has the details")
        status = rpc_status.to_status(status_of(error))
    _log(call, status.code.name, error.reason, "warning" if status.code in _OURS else "info")
    pushback = pushback_ms(error, ended=failure is not None and failure.ended)
    more = () if pushback is None else (("grpc-retry-pushback-ms", str(pushback)),)
    try:
        await call.context.abort_with_status(
            _Status(
                code=status.code,
                details=status.details,
                trailing_metadata=(*status.trailing_metadata, *more),
            )
        )
    except ExecuteBatchError:
        # The caller has gone before the status could be sent.
        raise asyncio.CancelledError from None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Status(grpc.Status):
    code: grpc.StatusCode
    details: str
    trailing_metadata: Any


_OURS = frozenset({grpc.StatusCode.INTERNAL})


def pushback_ms(error: TokenGrpcError, *, ended: bool) -> int | None:
    """What `grpc-retry-pushback-ms` says: -1 where repeating the same call cannot help (gRPC proposal A6)."""
    if ended or error.advice is Advice.NEVER:
        return -1
    return None if error.retry_after is None else round(error.retry_after * 1000)


def _log(call: RpcCall, code: str, reason: str, level: str) -> None:
    getattr(log, level)(
        "call",
        method=call.method,
        tenant=call.tenant.name,
        generation_id=call.generation_id,
        code=code,
        reason=reason,
        seconds=round(time.monotonic() - call.began, 6),
    )
