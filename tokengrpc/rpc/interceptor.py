"""Interceptor of every call: authentication, receipt of the request, errors as statuses."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import structlog

from tokengrpc.errors import (
    Advice,
    DeadlineExceeded,
    Internal,
    InvalidRequest,
    Overloaded,
    TokenGrpcError,
    without_traceback,
)
from tokengrpc.rpc.scopes import check_scopes
from tokengrpc.shortages import overloaded
from tokengrpc.wire.status import status_of

if TYPE_CHECKING:
    from tokengrpc.core.ports.auth import Authenticator
    from tokengrpc.generations.patience import StorePatience
    from tokengrpc.rpc.call import Handler, RpcCall
    from tokengrpc.rpc.call_reports import CallReports

R = TypeVar("R")

log = structlog.get_logger(__name__)

_BUG = "the server failed: try again; its log has the details"


class CallFailed(Exception):
    """Wrapper of an error that a generation or a subscription keeps.

    Raising the error itself would give it a traceback, whose frames refer to what keeps it.
    """

    def __init__(self, error: TokenGrpcError) -> None:
        super().__init__(error.message)
        self.error = error


class CallInterceptor:
    """Runs handlers and converts their exceptions: gRPC would send internal details as UNKNOWN."""

    def __init__(
        self,
        authenticator: Authenticator,
        patience: StorePatience,
        reports: CallReports,
        *,
        request_timeout: float,
        max_awaited_requests: int,
    ) -> None:
        """Takes the authenticator, its patience, the reports, and limits for requests."""
        self._authenticator = authenticator
        self._patience = patience
        self._reports = reports
        self._request_timeout = request_timeout
        self._max_awaited = max_awaited_requests
        self._awaited = 0

    async def run(self, handler: Handler[R], call: RpcCall) -> R | None:
        """Runs a handler. Returns its response; None if the call ended with an error."""
        self._reports.started(call)
        try:
            await self._identify(call)
            response = await handler(await self._request(call), call)
        except asyncio.CancelledError:
            self._reports.left(call)
            raise
        except CallFailed as failed:
            error = failed.error
        except TokenGrpcError as raised:
            error = without_traceback(raised)
        except Exception as unexpected:
            shortage = overloaded(unexpected)
            if shortage is None:
                log.exception("unexpected error in a call", method=call.method)
            error = shortage or Internal(_BUG)
        else:
            if isinstance(response, bytes):
                call.sent_bytes += len(response)
            self._reports.ended(call)
            return response
        await self._fail(call, error)
        return None

    async def admit(self, call: RpcCall) -> None:
        """Ends a call of another service, such as reflection, if its caller is unknown. Reports nothing."""
        try:
            await self._identify(call)
        except TokenGrpcError as raised:
            error = without_traceback(raised)
        else:
            return
        await call.fail(status_of(error), pushback_ms(error, ended=False))

    async def _identify(self, call: RpcCall) -> None:
        """Finds out who calls. Raises Unauthenticated, ScopeRequired, AdminRequired, StoreUnavailable."""
        call.identity = await self._patience.once(
            lambda: self._authenticator.authenticate(call.metadata, call.peer)
        )
        check_scopes(call.identity, call.scopes)

    async def _request(self, call: RpcCall) -> bytes:
        """Returns the request. Raises DeadlineExceeded or InvalidRequest if it does not arrive.

        Raises Overloaded if too many requests are awaited: gRPC keeps what has arrived of each.
        """
        if self._awaited >= self._max_awaited:
            raise Overloaded(f"the server waits for {self._awaited} requests, its limit: try again shortly")
        self._awaited += 1
        try:
            async with asyncio.timeout(self._request_timeout):
                data = await call.receive()
        except TimeoutError:
            raise DeadlineExceeded(
                f"the request did not arrive within {self._request_timeout:g} s: send it faster"
            ) from None
        finally:
            self._awaited -= 1
        if data is None:
            raise InvalidRequest([("", "the call ended without a request: send one")])
        return data

    async def _fail(self, call: RpcCall, error: TokenGrpcError) -> None:
        try:
            failure = call.failure() if call.failure is not None else None
            status = status_of(error, failure)
        except Exception:
            log.exception("unexpected error while building a status", method=call.method, reason=error.reason)
            failure, error = None, Internal(_BUG)
            status = status_of(error)
        self._reports.failed(call, error)
        await call.fail(status, pushback_ms(error, ended=failure is not None and failure.ended))


def pushback_ms(error: TokenGrpcError, *, ended: bool) -> int | None:
    """Returns the value of `grpc-retry-pushback-ms`: -1 if repeating the same call cannot succeed.

    See gRPC proposal A6. None if there is nothing to send.
    """
    if ended or error.advice is Advice.NEVER:
        return -1
    return None if error.retry_after is None else round(error.retry_after * 1000)
