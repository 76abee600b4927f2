"""What surrounds every call: who it is, its errors as statuses, one line in the log."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import grpc
import structlog
from google.rpc import error_details_pb2
from grpc._cython.cygrpc import ExecuteBatchError
from grpc_status import rpc_status
from tokenstreaming.v1 import generation_pb2

from tokengrpc.errors import Advice, Internal, TokenGrpcError
from tokengrpc.rpc.auth import ANYBODY
from tokengrpc.wire.status import Failure, status_of
from tokengrpc.wire.tables import ADVICE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from google.protobuf.message import Message
    from google.rpc.status_pb2 import Status

    from tokengrpc.admission import Tenant
    from tokengrpc.rpc.auth import Authenticator

R_co = TypeVar("R_co", covariant=True)
Context = grpc.aio.ServicerContext[bytes, bytes]

log = structlog.get_logger("tokengrpc.access")


class CallFailed(Exception):
    """The call ends with this status; raised where the status is already made."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.message)
        self.status = status


@dataclass(slots=True, kw_only=True)
class Call:
    """One RPC under way. `failure` is what its errors tell of a generation, once one is concerned."""

    method: str
    context: Context
    tenant: Tenant = ANYBODY
    failure: Failure | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def deadline_left(self) -> float | None:
        """Seconds until the caller's deadline; None without one."""
        return self.context.time_remaining()


class Method(Protocol[R_co]):
    """The body of an RPC: takes the request's bytes."""

    def __call__(self, data: bytes, call: Call) -> Awaitable[R_co]:
        """Answers or raises."""


class Guard:
    """Wraps the bodies of RPCs. No exception leaves it as gRPC's UNKNOWN, which would tell our internals."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    def __call__(self, name: str, method: Method[R_co]) -> Callable[[bytes, Context], Awaitable[R_co]]:
        """A handler for grpc.aio."""

        async def handle(data: bytes, context: Context) -> R_co:
            call = Call(method=name, context=context)
            try:
                call.tenant = self._authenticator.tenant(context.invocation_metadata())
                answer = await method(data, call)
            except asyncio.CancelledError:
                _log(call, "CANCELLED", "", "info")
                raise
            except CallFailed as failed:
                status = failed.status
            except TokenGrpcError as error:
                status = status_of(error, call.failure)
            except Exception:
                log.exception("call failed by a bug", method=name)
                status = status_of(
                    Internal("the server failed: try again; its log has the details"), call.failure
                )
            else:
                _log(call, "OK", "", "info")
                return answer
            await _abort(call, status)
            raise AssertionError("abort raises")

        return handle


async def _abort(call: Call, status: Status) -> None:
    answer = rpc_status.to_status(status)
    info = detail(status, error_details_pb2.ErrorInfo)
    _log(call, answer.code.name, info.reason if info else "", "warning" if status.code in _OURS else "info")
    pushback = pushback_ms(status)
    if pushback is not None:
        answer = _WithPushback(
            code=answer.code,
            details=answer.details,
            trailing_metadata=(*answer.trailing_metadata, ("grpc-retry-pushback-ms", str(pushback))),
        )
    try:
        await call.context.abort_with_status(answer)
    except ExecuteBatchError:
        # The caller has gone before the status could be sent.
        raise asyncio.CancelledError from None


@dataclass(frozen=True, slots=True, kw_only=True)
class _WithPushback(grpc.Status):
    code: grpc.StatusCode
    details: str
    trailing_metadata: Any


_OURS = frozenset({grpc.StatusCode.INTERNAL.value[0], grpc.StatusCode.UNKNOWN.value[0]})


def pushback_ms(status: Status) -> int | None:
    """What `grpc-retry-pushback-ms` says: -1 where repeating the same call cannot help (gRPC proposal A6)."""
    failure = detail(status, generation_pb2.GenerationFailure)
    if failure is not None and (failure.ended or failure.retry_advice == ADVICE.there[Advice.NEVER]):
        return -1
    retry = detail(status, error_details_pb2.RetryInfo)
    return None if retry is None else round(retry.retry_delay.seconds * 1e3 + retry.retry_delay.nanos / 1e6)


D = TypeVar("D", bound="Message")


def detail(status: Status, kind: type[D]) -> D | None:
    """The first detail of a kind."""
    for packed in status.details:
        if packed.Is(kind.DESCRIPTOR):
            found = kind()
            packed.Unpack(found)
            return found
    return None


def _log(call: Call, code: str, reason: str, level: str) -> None:
    generation = call.failure.generation_id if call.failure else ""
    getattr(log, level)(
        "call",
        method=call.method,
        tenant=call.tenant.name,
        generation_id=generation,
        code=code,
        reason=reason,
        seconds=round(time.monotonic() - call.began, 6),
    )
