"""The steps that the script of a ScriptedEngine consists of."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import web

from tests.support.wire_dialects import event

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.scripted_engine import Call


class Step(Protocol):
    """One action of the server in a call."""

    async def run(self, call: Call) -> web.StreamResponse | None:
        """Performs the action. If it returns a response, the call ends with it."""


class Content:
    """A step that consists of bytes, which are rendered for the call and written at once."""

    def render(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        """Returns the bytes and the tokens that they contain. Called once, in order."""
        raise NotImplementedError

    async def run(self, call: Call) -> None:
        """Writes the bytes."""
        await call.write(*self.render(call))


class Text(Content):
    """Pieces of text.

    One token and one chunk each, all in one write. Use several steps for several writes.
    """

    def __init__(self, *pieces: str, kind: str = "text") -> None:
        self.pieces = pieces
        self.kind = kind

    def render(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        """Returns one chunk per piece."""
        data = b""
        for piece in self.pieces:
            call.rendered_count += 1
            call.rendered_reasoning += self.kind == "reasoning"
            data += call.dialect.write(call.dialect.text_chunk(call, piece, self.kind))
        return data, self.pieces


def Reasoning(*pieces: str) -> Text:  # noqa: N802 - reads as the other steps do
    """Returns a step with pieces of reasoning."""
    return Text(*pieces, kind="reasoning")


def Refusal(*pieces: str) -> Text:  # noqa: N802 - reads as the other steps do
    """Returns a step with pieces of a refusal."""
    return Text(*pieces, kind="refusal")


@dataclass(frozen=True)
class ToolCall(Content):
    """A fragment of a tool call. Fields that are None are left out."""

    index: int | None = 0
    id: str | None = None
    name: str | None = None
    arguments: str | None = None

    def render(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        """Returns one chunk with one token."""
        call.rendered_count += 1
        function = {"name": self.name, "arguments": self.arguments}
        piece = {
            "index": self.index,
            "id": self.id,
            "type": "function",
            "function": {key: value for key, value in function.items() if value is not None},
        }
        piece = {key: value for key, value in piece.items() if value is not None}
        chunk = call.dialect.chunk(call, {"tool_calls": [piece]})
        return call.dialect.write(chunk), (self.arguments or "",)


@dataclass(frozen=True)
class Finish(Content):
    """The chunk with the finish reason. `extra` is added to its choice."""

    reason: str = "stop"
    extra: Mapping[str, Any] = field(default_factory=dict)

    def render(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        """Returns one chunk without tokens."""
        return call.dialect.write(call.dialect.finish_chunk(call, self.reason, self.extra)), ()


@dataclass(frozen=True)
class UsageChunk(Content):
    """The final usage. If a count is None, it is the server's own count."""

    input: int | None = None
    output: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def render(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        """Returns one chunk without choices."""
        call.usage = call.dialect.usage(call, self.input, self.output) | dict(self.details)
        return call.dialect.write(call.dialect.usage_chunk(call)), ()


@dataclass(frozen=True)
class Chunk(Content):
    """An event with any JSON payload. `tokens` are added to the call's log."""

    payload: object
    tokens: tuple[str, ...] = ()

    def render(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        """Returns the event."""
        call.rendered_count += len(self.tokens)
        return event(self.payload), self.tokens


class Complaint(Content):
    """An error object in the stream."""

    def __init__(self, **error: object) -> None:
        self.error = error

    def render(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        """Returns the error in the dialect's format."""
        return call.dialect.write(call.dialect.complaint(self.error)), ()


@dataclass(frozen=True)
class Bytes(Content):
    """Any bytes. `tokens` are added to the call's log."""

    data: bytes
    tokens: tuple[str, ...] = ()

    def render(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        """Returns the bytes."""
        call.rendered_count += len(self.tokens)
        return self.data, self.tokens


class Done(Content):
    """The dialect's end mark."""

    def render(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        """Returns the end mark."""
        return call.dialect.end_mark, ()


class Together(Content):
    """Several content steps in a single write."""

    def __init__(self, *steps: Content) -> None:
        self.steps = steps

    def render(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        """Returns the bytes and tokens of all steps."""
        rendered = [step.render(call) for step in self.steps]
        return b"".join(data for data, _ in rendered), tuple(t for _, tokens in rendered for t in tokens)


class Split:
    """A content step that is written in pieces, cut at these positions. Negative ones count from the end."""

    def __init__(self, step: Content, *positions: int) -> None:
        self.step = step
        self.positions = positions

    async def run(self, call: Call) -> None:
        """Writes each piece separately. The tokens count as sent with the last piece."""
        data, tokens = self.step.render(call)
        cuts = sorted({position % len(data) for position in self.positions} | {len(data)})
        at = 0
        for cut in cuts:
            await call.write(data[at:cut], tokens if cut == len(data) else ())
            await asyncio.sleep(0)
            at = cut


class Headers:
    """The response's headers, with which the server accepts the request; `more` beside the type."""

    def __init__(self, more: Mapping[str, str] | None = None) -> None:
        self.more = more or {}

    async def run(self, call: Call) -> None:
        """Sends the headers."""
        await call.send_headers(self.more)


@dataclass(frozen=True)
class Until:
    """A wait for an event of the test."""

    event: asyncio.Event

    async def run(self, call: Call) -> None:
        """Waits for the event."""
        await self.event.wait()


class Pause:
    """A wait until the test calls `release`. `reached` is set when the script arrives here."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._released = asyncio.Event()

    def release(self) -> None:
        """Lets the script continue."""
        self._released.set()

    async def run(self, call: Call) -> None:
        """Sets `reached`, and waits for `release`."""
        self.reached.set()
        await self._released.wait()


class Stall(Pause):
    """A pause that is never released. It ends when the connection is closed."""


class Drop:
    """A close of the connection before the end of the body."""

    async def run(self, call: Call) -> web.StreamResponse:
        """Closes the connection after the data that was written."""
        response = await call.send_headers()
        assert call.request.transport is not None
        call.request.transport.close()
        call.finished.set()
        return response


class Reset:
    """An abort of the connection, before or after the headers. Data that was not sent yet is discarded."""

    async def run(self, call: Call) -> web.StreamResponse:
        """Aborts the connection."""
        assert call.request.transport is not None
        call.request.transport.abort()
        call.finished.set()
        return call.response or web.Response()


@dataclass(frozen=True)
class Status:
    """A status with a JSON or text body, instead of a stream."""

    status: int
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)

    async def run(self, call: Call) -> web.StreamResponse:
        """Returns the response."""
        call.finished.set()
        headers = {"Content-Type": "application/json"} | dict(self.headers)
        text = self.body if isinstance(self.body, str) else json.dumps(self.body)
        return web.Response(status=self.status, body=text.encode(), headers=headers)
