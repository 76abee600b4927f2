"""A scripted OpenAI-compatible engine, as cheap as possible, so that runs measure the relay.

Each request's prompt contains the script to run (see `script`). Chunks look like vLLM's, and are created in
advance.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import select
import selectors
import time
from typing import TYPE_CHECKING, Any, cast

import msgspec

from bench.script import MODEL, WORDS, Script, stamp

if TYPE_CHECKING:
    from collections.abc import Callable

_BURST_WRITE_BYTES = 16 * 1024
_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_STREAM_END = b"0\r\n\r\n"


class PreciseSelector(selectors.EpollSelector):
    """A selector that is accurate to some tens of microseconds.

    epoll_wait counts in milliseconds, so tokens of streams with random phases would be written at the same
    moments, and each relay would read several tokens at each wake-up.
    """

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Waits like its base class, but up to `timeout` with microsecond accuracy."""
        if timeout is not None and timeout > 0:
            select.select([self.fileno()], [], [], timeout)
            timeout = 0
        return super().select(timeout)


def _http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _event(payload: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


class Dialect:
    """The chunks of one endpoint, created once."""

    def __init__(self, *, chat: bool) -> None:
        self._chat = chat
        self.first = _http_chunk(self._token_event(None)) if chat else b""
        self.words = [_http_chunk(self._token_event(word)) for word in WORDS]
        self._stamp_parts = _http_chunk(self._token_event(stamp(0))).split(stamp(0).encode())
        self.finish = _http_chunk(_event(self._payload([self._choice("", "stop")])))
        self.done = _http_chunk(b"data: [DONE]\n\n") + _STREAM_END

    def stamped(self) -> bytes:
        """Returns a token that contains the current time."""
        head, tail = self._stamp_parts
        return head + stamp(time.monotonic_ns()).encode() + tail

    def usage(self, count: int) -> bytes:
        """Returns the last chunk, which has usage and no choices."""
        usage = {"prompt_tokens": 9, "total_tokens": 9 + count, "completion_tokens": count}
        return _http_chunk(_event(self._payload([]) | {"usage": usage}))

    def _token_event(self, text: str | None) -> bytes:
        return _event(self._payload([self._choice(text, None)]))

    def _choice(self, text: str | None, finish: str | None) -> dict[str, Any]:
        delta = {"role": "assistant", "content": ""} if text is None else {"content": text}
        body = {"delta": delta} if self._chat else {"text": text}
        return {"index": 0, **body, "logprobs": None, "finish_reason": finish}

    def _payload(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        prefix, kind = ("chatcmpl", "chat.completion.chunk") if self._chat else ("cmpl", "text_completion")
        ident = f"{prefix}-0f1e2d3c4b5a69788796a5b4c3d2e1f0"
        return {"id": ident, "object": kind, "created": 1_750_000_000, "model": MODEL, "choices": choices}


_CHAT = Dialect(chat=True)
_COMPLETIONS = Dialect(chat=False)


class Connection(asyncio.Protocol):
    """One HTTP connection. Each request is answered by its script, one after another."""

    calls = 0

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Stores the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (the protocol's signature)
        """Stops the script."""
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Answers a request once it is complete. Requests are not pipelined."""
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = 0
        for line in bytes(head).lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line[15:])
        if len(body) < length:
            return
        self._received.clear()
        self._answer(bytes(head.split(b" ", 2)[1]), bytes(body))

    def _answer(self, path: bytes, body: bytes) -> None:
        if path not in (b"/v1/chat/completions", b"/v1/completions"):
            self._answer_models()
            return
        Connection.calls += 1
        request = msgspec.json.decode(body)
        chat = path.endswith(b"/chat/completions")
        self._dialect = _CHAT if chat else _COMPLETIONS
        self._script = Script.parse(_user_text(request["messages"]) if chat else request["prompt"])
        self._include_usage = (request.get("stream_options") or {}).get("include_usage", False)
        self._transport.write(_HEAD + self._dialect.first)
        if self._script.rate == 0:
            self._burst()
            return
        self._index = 0
        self._start = self._loop.time() + self._script.phase / self._script.rate
        self._timer = self._loop.call_at(self._start, self._tick)

    def _answer_models(self) -> None:
        """Lists the only model, with the number of generations that this engine was asked for so far."""
        models = [{"id": MODEL, "object": "model"}]
        body = json.dumps({"object": "list", "data": models, "calls": Connection.calls}).encode()
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self._transport.write(head % len(body) + body)

    def _tick(self) -> None:
        """Writes one token. Times are relative to the start, so that delays do not add up."""
        index = self._index
        dialect = self._dialect
        chunk = dialect.stamped() if self._script.stamped(index) else dialect.words[self._script.word(index)]
        self._transport.write(chunk)
        self._index = index + 1
        if index + 1 < self._script.tokens:
            due = self._start + (index + 1) / self._script.rate
            self._timer = self._loop.call_at(due, self._tick)
        else:
            self._end()

    def _burst(self) -> None:
        dialect, script = self._dialect, self._script
        pending = bytearray()
        for index in range(script.tokens):
            pending += dialect.stamped() if script.stamped(index) else dialect.words[script.word(index)]
            if len(pending) >= _BURST_WRITE_BYTES:
                self._transport.write(bytes(pending))
                pending.clear()
        self._transport.write(bytes(pending))
        self._end()

    def _end(self) -> None:
        usage = self._dialect.usage(self._script.tokens) if self._include_usage else b""
        self._transport.write(self._dialect.finish + usage + self._dialect.done)


def _user_text(messages: list[dict[str, Any]]) -> str:
    content = messages[-1]["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


async def serve(make: Callable[[], asyncio.Protocol], description: str | None) -> None:
    """Serves on --listen until it is cancelled, with a protocol instance per connection.

    Prints the address.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--listen", default="127.0.0.1:0")
    host, _, port = parser.parse_args().listen.rpartition(":")
    server = await asyncio.get_running_loop().create_server(make, host, int(port), backlog=4096)
    address = server.sockets[0].getsockname()
    print(f"listening on {address[0]}:{address[1]}", flush=True)
    await server.serve_forever()


def main() -> None:
    """Serves on the address of --listen."""
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(PreciseSelector())) as runner:
        runner.run(serve(Connection, __doc__))


if __name__ == "__main__":
    main()
