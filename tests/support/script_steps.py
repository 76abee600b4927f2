"""The steps of a scripted engine's scripts."""

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
    """Something that a server does in a call."""

    async def run(self, call: Call) -> web.StreamResponse | None:
        """Does it. A response that is returned ends the call."""


class Content:
    """A step that is bytes: rendered for the call, then written at once."""

    def render(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        """Its bytes, and the tokens that they hold. Called once, in order."""
        raise NotImplementedError

    async def run(self, call: Call) -> None:
        """Writes it."""
        await call.write(*self.render(call))


class Text(Content):
    """Pieces of the answer: one token and one chunk each, all in one write. For a write each, use several."""

    def __init__(self, *pieces: str, kind: str = "text") -> None:
        self.pieces = pieces
        self.kind = kind

    def render(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        """One chunk per piece."""
        data = b""
        for piece in self.pieces:
            call.rendered_count += 1
            call.rendered_reasoning += self.kind == "reasoning"
            data += call.dialect.write(call.dialect.text_chunk(call, piece, self.kind))
        return data, self.pieces


def Reasoning(*pieces: str) -> Text:  # noqa: N802 - reads as the other steps do
    """Pieces of reasoning."""
    return Text(*pieces, kind="reasoning")


def Refusal(*pieces: str) -> Text:  # noqa: N802 - reads as the other steps do
    """Pieces of a refusal."""
    return Text(*pieces, kind="refusal")


@dataclass(frozen=True)
class ToolCall(Content):
    """A piece of a tool call; fields that are None are left out."""

    index: int | None = 0
    id: str | None = None
    name: str | None = None
    arguments: str | None = None

    def render(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        """One chunk, one token."""
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
    """The chunk with the finish reason; `extra` goes into the choice."""

    reason: str = "stop"
    extra: Mapping[str, Any] = field(default_factory=dict)

    def render(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        """One chunk without tokens."""
        return call.dialect.write(call.dialect.finish_chunk(call, self.reason, self.extra)), ()


@dataclass(frozen=True)
class UsageChunk(Content):
    """The last chunk's usage; what is None is counted by the server itself."""

    input: int | None = None
    output: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def render(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        """One chunk without choices."""
        call.usage = call.dialect.usage(call, self.input, self.output) | dict(self.details)
        return call.dialect.write(call.dialect.usage_chunk(call)), ()


@dataclass(frozen=True)
class Chunk(Content):
    """Any JSON as an event; `tokens` are what it is logged as."""

    payload: object
    tokens: tuple[str, ...] = ()

    def render(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        """The event."""
        call.rendered_count += len(self.tokens)
        return event(self.payload), self.tokens


class Complaint(Content):
    """An error object inside the stream."""

    def __init__(self, **error: object) -> None:
        self.error = error

    def render(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        """As the dialect has it."""
        return call.dialect.write(call.dialect.complaint(self.error)), ()


@dataclass(frozen=True)
class Bytes(Content):
    """Any bytes."""

    data: bytes
    tokens: tuple[str, ...] = ()

    def render(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        """The bytes."""
        call.rendered_count += len(self.tokens)
        return self.data, self.tokens


class Done(Content):
    """The end mark."""

    def render(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        """As the dialect has it."""
        return call.dialect.end_mark, ()


class Together(Content):
    """Several content steps in one write."""

    def __init__(self, *steps: Content) -> None:
        self.steps = steps

    def render(self, call: Call) -> tuple[bytes, tuple[str, ...]]:
        """All their bytes."""
        rendered = [step.render(call) for step in self.steps]
        return b"".join(data for data, _ in rendered), tuple(t for _, tokens in rendered for t in tokens)


class Split:
    """A content step whose bytes are written in pieces, cut at some positions (negative: from the end)."""

    def __init__(self, step: Content, *positions: int) -> None:
        self.step = step
        self.positions = positions

    async def run(self, call: Call) -> None:
        """A write for each piece; the tokens count with the last one."""
        data, tokens = self.step.render(call)
        cuts = sorted({position % len(data) for position in self.positions} | {len(data)})
        at = 0
        for cut in cuts:
            await call.write(data[at:cut], tokens if cut == len(data) else ())
            await asyncio.sleep(0)
            at = cut


class Headers:
    """Sends the headers: the request is accepted."""

    async def run(self, call: Call) -> None:
        """Sends them."""
        await call.send_headers()


@dataclass(frozen=True)
class Until:
    """Waits for an event of the test's."""

    event: asyncio.Event

    async def run(self, call: Call) -> None:
        """Waits."""
        await self.event.wait()


class Pause:
    """A place where the script waits until the test calls `release`; `reached` is set when it is there."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._released = asyncio.Event()

    def release(self) -> None:
        """Lets it go on."""
        self._released.set()

    async def run(self, call: Call) -> None:
        """Waits."""
        self.reached.set()
        await self._released.wait()


class Stall(Pause):
    """A pause that nobody releases: it ends with the connection."""


class Drop:
    """Closes the connection with the body unfinished."""

    async def run(self, call: Call) -> web.StreamResponse:
        """Closes it after what was written."""
        response = await call.send_headers()
        assert call.request.transport is not None
        call.request.transport.close()
        call.finished.set()
        return response


class Reset:
    """Throws the connection away, with what is not yet sent; before the headers or after them."""

    async def run(self, call: Call) -> web.StreamResponse:
        """Aborts it."""
        assert call.request.transport is not None
        call.request.transport.abort()
        call.finished.set()
        return call.response or web.Response()


@dataclass(frozen=True)
class Status:
    """Answers with a status and a JSON body (or text) instead of a stream."""

    status: int
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)

    async def run(self, call: Call) -> web.StreamResponse:
        """Answers."""
        call.finished.set()
        headers = {"Content-Type": "application/json"} | dict(self.headers)
        text = self.body if isinstance(self.body, str) else json.dumps(self.body)
        return web.Response(status=self.status, body=text.encode(), headers=headers)
