"""Sends a request to an engine, again without the fields that the engine refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokengrpc.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tokengrpc.engines.http.client import EngineHTTP
    from tokengrpc.engines.http.connection import Response
    from tokengrpc.engines.upstream.errors.failures import Failures
    from tokengrpc.engines.upstream.response.decoder import StreamDecoder

# Statuses with which servers refuse a request because of a field that they do not know.
_FIELD_REFUSALS = frozenset({400, 422})


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamRequest:
    """An HTTP request to an engine, and the decoder of its response.

    `repeat` takes the status and the body of a refusal, and returns the request to send instead, if any.
    `on_accepted` is called when the engine has accepted the request.
    """

    path: str
    body: bytes
    decoder: StreamDecoder
    repeat: Callable[[int, bytes], UpstreamRequest | None] | None = None
    on_accepted: Callable[[], None] | None = None


async def send(
    upstream_request: UpstreamRequest,
    http: EngineHTTP,
    failures: Failures,
    *,
    connect_timeout: float | None,
    headers: Mapping[str, str],
    on_response: Callable[[Response], None],
) -> tuple[UpstreamRequest, Response]:
    """Sends a request, again as long as the engine refuses a field that can be omitted.

    Returns the last request and its response. `headers` are sent with each of them. `on_response` is called
    with each response. Raises the error that a refusal of such a status maps to.
    """
    while True:
        response = await http.post(
            upstream_request.path, upstream_request.body, connect_timeout=connect_timeout, headers=headers
        )
        on_response(response)
        if response.head.status not in _FIELD_REFUSALS or upstream_request.repeat is None:
            if response.head.status < 300 and upstream_request.on_accepted is not None:
                upstream_request.on_accepted()
            return upstream_request, response
        try:
            upstream_request = await _repeated(upstream_request, response, failures)
        finally:
            http.release(response)


async def _repeated(
    upstream_request: UpstreamRequest, response: Response, failures: Failures
) -> UpstreamRequest:
    """Returns the request to send instead of a refused one. Raises the refusal's error without one."""
    body = await failures.body(response)
    error = failures.refused(response, body)
    repeat = None
    if isinstance(error, InvalidRequest) and upstream_request.repeat is not None:
        repeat = upstream_request.repeat(response.head.status, body)
    if repeat is None:
        raise error
    return repeat
