"""An HTTP server of a provider: checks requests as the provider does, and answers "Hello".

It refuses whatever its rules do not allow. TLS and Unix sockets are real.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from multidict import CIMultiDictProxy, MultiMapping

_CHUNKS: tuple[dict[str, Any], ...] = (
    {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hello"}}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}},
)
ANSWER = b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in _CHUNKS) + b"data: [DONE]\n\n"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a provider accepts. Fields are names in the body, and in messages of the assistant."""

    host: str
    path: str
    fields: frozenset[str]
    message_fields: frozenset[str] = frozenset({"role", "content", "tool_calls"})
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    model: str
    field_status: int = 400
    """Status with which unknown fields are refused."""

    def objection(self, call: Call) -> tuple[int, str] | None:
        """Returns the status and the words with which a request is refused; None if it is accepted."""
        if call.headers.get("Host") != self.host:
            return 421, "wrong host"
        if call.path != self.path or dict(call.query) != self.query:
            return 404, "Resource not found"
        for name, value in self.headers.items():
            if call.headers.getall(name, []) != [value]:
                return 401, "Access denied"
        if call.body.get("model") != self.model:
            return 404, "The model does not exist"
        if unknown := sorted(call.body.keys() - self.fields):
            return self.field_status, f"Unknown name {unknown[0]}"
        for message in call.body["messages"]:
            if message["role"] == "assistant" and (extra := sorted(message.keys() - self.message_fields)):
                return self.field_status, f"property '{extra[0]}' of a message is unsupported"
        return None


@dataclass(frozen=True)
class Call:
    """One request."""

    path: str
    query: MultiMapping[str]
    headers: CIMultiDictProxy[str]
    body: dict[str, Any]


class Provider:
    """The server. `calls` has every request. `refusal` is a status and body with which all are refused."""

    def __init__(
        self,
        rules: Rules | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        socket_path: str = "",
        refusal: tuple[int, dict[str, Any]] | None = None,
    ) -> None:
        self.calls: list[Call] = []
        self.port = 0
        self._rules = rules
        self._tls = tls
        self._socket_path = socket_path
        self._refusal = refusal

    @property
    def url(self) -> str:
        """The URL without a path."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0, access_log=None)
        await self._runner.setup()
        site: web.BaseSite
        if self._socket_path:
            site = web.UnixSite(self._runner, self._socket_path)
        else:
            site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        if not self._socket_path:
            self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        raw = await request.read()
        call = Call(request.path, request.query, request.headers, json.loads(raw) if raw else {})
        self.calls.append(call)
        if self._refusal is not None:
            return web.json_response(self._refusal[1], status=self._refusal[0])
        objection = self._rules.objection(call) if self._rules is not None else None
        if objection is not None:
            status, words = objection
            return web.json_response({"error": {"message": words}}, status=status)
        return web.Response(body=ANSWER, content_type="text/event-stream")
