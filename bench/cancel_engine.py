"""A scripted engine that records when each of its connections is closed, for `bench.cancels`.

The prompt is a number and a word: `17 prefill` never gets an answer, `18 tokens` one token after another
without an end. `GET /log` tells, by number, when a request was whole and when its connection was closed, in
nanoseconds of the monotonic clock, which all processes of a machine share; and how many connections are open.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import uvloop

from bench.engine import serve

_TOKEN_SECONDS = 0.2
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_EVENT = b'data: {"choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}\n\n'
_TOKEN = b"%x\r\n%b\r\n" % (len(_EVENT), _EVENT)


class Log:
    """The history of all connections."""

    def __init__(self) -> None:
        self.received: dict[str, int] = {}
        self.closed: dict[str, int] = {}
        self.open = 0

    def told(self) -> bytes:
        """Returns the history as JSON, without the connection that asks for it."""
        return json.dumps({"received": self.received, "closed": self.closed, "open": self.open - 1}).encode()


class Connection(asyncio.Protocol):
    """One connection for one request."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._number = ""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Counts the connection."""
        self._transport = transport
        self._log.open += 1

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """Records the time."""
        if self._number:
            self._log.closed[self._number] = time.monotonic_ns()
        self._log.open -= 1
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Answers a request once it is complete."""
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        if head.startswith(b"GET "):
            self._tell()
            return
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if len(body) >= int(lengths[0].partition(b":")[2]):
            self._received = b""
            self._answer(json.loads(body))

    def _answer(self, request: dict[str, Any]) -> None:
        self._number, word = request["messages"][-1]["content"].split(" ")
        self._log.received[self._number] = time.monotonic_ns()
        if word == "tokens":
            self._transport.write(_HEAD)
            self._tick()

    def _tick(self) -> None:
        self._transport.write(_TOKEN)
        self._timer = self._loop.call_later(_TOKEN_SECONDS, self._tick)

    def _tell(self) -> None:
        body = self._log.told()
        self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        self._transport.close()


def main() -> None:
    """Serves on the address of --listen."""
    log = Log()
    uvloop.run(serve(lambda: Connection(log), __doc__))


if __name__ == "__main__":
    main()
