"""Makes errors of what goes wrong with an engine's responses: refusals, error objects, broken connections."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from tokengrpc.engines.http.client import read_body
from tokengrpc.engines.http.failures import cause
from tokengrpc.engines.http.head import HTTPError
from tokengrpc.engines.upstream.errors.complaint import Complaint, read_complaint
from tokengrpc.engines.upstream.errors.delays import delay_seconds
from tokengrpc.engines.upstream.errors.mapping import status_error, stream_error
from tokengrpc.errors import EngineLost, EngineProtocolError, TokenGrpcError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.engines.http.connection import Response

# Statuses with which servers refuse a request for its rate.
_RATE_STATUSES = frozenset({413, 429})


class Failures:
    """The errors of one engine. `hide` redacts what the engine sent."""

    def __init__(self, engine: str, hide: Callable[[str], str]) -> None:
        self._engine = engine
        self._hide = hide

    async def refusal(self, response: Response) -> TokenGrpcError:
        """Reads a response of another status than 2xx and returns its error."""
        return self.refused(response, await self.body(response))

    async def body(self, response: Response) -> bytes:
        """Returns the body of a refusal, or nothing if it cannot be read: the status is enough."""
        with suppress(HTTPError, OSError):
            return await read_body(response)
        return b""

    def refused(self, response: Response, body: bytes) -> TokenGrpcError:
        """Returns the error of a response of another status than 2xx, whose body is `body`."""
        status, headers = response.head.status, response.head.headers
        delay = delay_seconds(headers, now=time.time(), limited=status in _RATE_STATUSES)
        return status_error(self._engine, status, self._complaint(body), delay)

    def in_place_of_output(self, body: bytes) -> TokenGrpcError | None:
        """Returns the error of an error object that came with status 200, or None if the body is none."""
        complaint = self._complaint(body)
        return None if complaint is None else stream_error(self._engine, complaint, started=False)

    def compressed(self) -> EngineProtocolError:
        """Returns the error of a response that is compressed."""
        return EngineProtocolError(
            f"engine {self._engine} compressed its response although the request forbids it; "
            "turn compression off in the engine or in the proxy before it"
        )

    def unreadable(self, content_type: str) -> EngineProtocolError:
        """Returns the error of a body that is neither events nor JSON."""
        return EngineProtocolError(
            f"engine {self._engine} answered with {self._hide(content_type)[:64]} "
            "instead of an event stream; check its kind and base_url"
        )

    def lost(self, error: Exception) -> EngineLost:
        """Returns the error of a broken connection."""
        return EngineLost(
            f"the connection to engine {self._engine} broke ({self._hide(cause(error))}); "
            "start again under a new id"
        )

    def _complaint(self, body: bytes) -> Complaint | None:
        with suppress(ValueError, RecursionError):
            return read_complaint(json.loads(body), self._hide)
        return None
