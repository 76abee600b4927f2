"""An OpenAI-compatible server that follows a script. Tests compare output with the server's own log.

    async with ScriptedEngine() as engine:
        engine.script(Text("Hello", " world"), Finish("stop"), UsageChunk(), Done())
        ...  # let a server call engine.base_url
        call = await engine.called()
        assert call.text == "Hello world"

A script is a list of steps. Content steps (`Text`, `Reasoning`, `ToolCall`, `Finish`, …) are written in the
server's dialect. `Together` and `Split` determine how the bytes are cut. `Until`, `Pause` and `Stall` wait.
`Drop` and `Reset` break the connection. At the end of the script, the body ends regularly. The headers are
sent with the first bytes or by `Headers()`, so a wait before them is a wait in prefill. Every call runs the
newest script for its `model`, or else the newest script without a model.
"""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

from tests.support.script_steps import (
    Bytes,
    Chunk,
    Complaint,
    Done,
    Drop,
    Finish,
    Headers,
    Pause,
    Reasoning,
    Refusal,
    Reset,
    Split,
    Stall,
    Status,
    Step,
    Text,
    Together,
    ToolCall,
    Until,
    UsageChunk,
)
from tests.support.wire_dialects import OPENAI, Dialect

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "Bytes",
    "Call",
    "Chunk",
    "Complaint",
    "Done",
    "Drop",
    "Finish",
    "Headers",
    "Pause",
    "Reasoning",
    "Refusal",
    "Reset",
    "ScriptedEngine",
    "Split",
    "Stall",
    "Status",
    "Step",
    "Text",
    "Together",
    "ToolCall",
    "Until",
    "UsageChunk",
]


class Call:
    """One request and the log of its response.

    `tokens` are the pieces of text that were sent, including reasoning. Tokens that are rendered but not yet
    written are not among them. `usage` is the usage that was last reported to the caller.
    """

    def __init__(self, request: web.Request, body: dict[str, Any], dialect: Dialect) -> None:
        self.request = request
        self.path = request.path
        self.headers = request.headers
        self.body = body
        self.chat = not request.path.endswith("/v1/completions")
        self.dialect = dialect
        self.tokens: list[str] = []
        self.usage: dict[str, Any] | None = None
        self.rendered_count = 0
        self.rendered_reasoning = 0
        self.blocks: list[str] = []  # the types of the blocks so far, in dialects with blocks
        self.written = b""
        self.response: web.StreamResponse | None = None
        self.finished = asyncio.Event()
        self.disconnected = asyncio.Event()

    @property
    def text(self) -> str:
        """All text that was sent, in order."""
        return "".join(self.tokens)

    @property
    def token_count(self) -> int:
        """The number of tokens that were sent."""
        return len(self.tokens)

    async def send_headers(self, more: Mapping[str, str] | None = None) -> web.StreamResponse:
        """Starts the event stream, if it has not started. `more` are headers beside the type."""
        if self.response is None:
            self.response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **(more or {})})
            await self.response.prepare(self.request)
        return self.response

    async def write(self, data: bytes, tokens: tuple[str, ...] = ()) -> None:
        """Writes bytes. They and their tokens are added to the log once the kernel has taken them."""
        response = await self.send_headers()
        await response.write(data)
        protocol = self.request.protocol
        if protocol._paused:  # noqa: SLF001 - aiohttp waits only above 64 KiB and has no public way to wait
            await protocol._drain_helper()  # noqa: SLF001
        if self.request.transport is None or self.request.transport.is_closing():
            raise ConnectionResetError("the client is gone")
        self.written += data
        self.tokens += tokens


class ScriptedEngine:
    """The server. `base_url` is for an engine's settings. `calls` has every call."""

    def __init__(self, dialect: Dialect = OPENAI) -> None:
        self.dialect = dialect
        self.calls: list[Call] = []
        self._scripts: dict[str | None, tuple[Step, ...]] = {}
        self._taken = 0
        self._changed = asyncio.Condition()
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self._port = 0

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v1/chat/completions", self._handle)
        app.router.add_post("/v1/completions", self._handle)
        app.router.add_post("/v1/messages", self._handle)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0, access_log=None)
        await self._runner.setup()
        self._site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await self._site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def hang_up(self) -> None:
        """Stops listening. Connections are refused."""
        assert self._site is not None
        await self._site.stop()

    async def go_deaf(self) -> Sequence[socket.socket]:
        """Stops accepting.

        Connections to its address are not established until the returned sockets are closed.
        """
        await self.hang_up()
        listener = socket.create_server(("127.0.0.1", self._port), backlog=0)
        waiting = [listener]
        while len(waiting) < 4:  # the first one fills a backlog of 0; a kernel may accept a few more
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(listener.getsockname())
        return waiting

    @property
    def base_url(self) -> str:
        """The URL for an engine's settings."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def open_connections(self) -> int:
        """The number of open connections, including idle ones."""
        assert self._runner is not None
        assert self._runner.server is not None
        return len(self._runner.server.connections)

    def script(self, *steps: Step, model: str | None = None) -> None:
        """Sets the script of the following calls: all calls, or those for one model."""
        self._scripts[model] = steps

    async def called(self) -> Call:
        """Returns the next call that was not returned before. Waits for it."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.calls) > self._taken)
        call = self.calls[self._taken]
        self._taken += 1
        return call

    async def until(self, condition: Callable[[ScriptedEngine], bool]) -> None:
        """Waits for a condition that has no event, such as the number of connections."""
        while not condition(self):  # noqa: ASYNC110 - aiohttp tells nobody when a connection is gone
            await asyncio.sleep(0.001)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        call = Call(request, body, self.dialect)
        steps = self._scripts.get(body.get("model"), self._scripts.get(None, ()))
        async with self._changed:
            self.calls.append(call)
            self._changed.notify_all()
        try:
            return await self._run(call, steps)
        except (asyncio.CancelledError, ConnectionError):
            call.disconnected.set()
            raise

    async def _run(self, call: Call, steps: tuple[Step, ...]) -> web.StreamResponse:
        for step in steps:
            answer = await step.run(call)
            if answer is not None:
                return answer
        response = await call.send_headers()
        await response.write_eof()
        call.finished.set()
        return response
