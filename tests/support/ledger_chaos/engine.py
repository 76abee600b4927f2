"""Engines that fail by plan and log all usage that they report, in a process of their own.

    python -m tests.support.ledger_chaos.engine COUNT    # prints their ports; GET /log returns the log

Token i is a function of the prompt and i, as in `engine_process`. A prompt determines how its first request
fails: with status 500 before the first token, or by an end of the connection after some tokens, which another
engine continues.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import zlib
from contextlib import suppress
from typing import Any

from tests.support.engine_process import Response

PACE = 0.002
_ERROR, _CUT = 17, 7
"""One prompt in so many fails in this way."""


class Log:
    """By prompt: for each attempt, the tokens before it and the usage reported with each chunk."""

    def __init__(self) -> None:
        self.attempts: dict[str, list[dict[str, Any]]] = {}

    def begin(self, response: Response) -> list[tuple[int, int]]:
        """Adds an attempt, and returns the list of what it reports: input, and output of the attempt."""
        reports: list[tuple[int, int]] = []
        attempt = {"first": response.first, "reports": reports}
        self.attempts.setdefault(response.prompt, []).append(attempt)
        return reports


def planned(prompt: str) -> str:
    """Returns how the first request with a prompt fails: `error`, `cut`, or not at all."""
    chance = zlib.crc32(b"fault" + prompt.encode())
    if chance % _ERROR == 0:
        return "error"
    return "cut" if chance % _CUT == 0 else ""


async def answer(writer: asyncio.StreamWriter, path: str, body: dict[str, Any], log: Log) -> bool:
    """Answers one request. Returns whether the connection may be used again."""
    response = Response(path, body)
    fault = "" if response.prompt in log.attempts else planned(response.prompt)
    reports = log.begin(response)
    if fault == "error":
        writer.write(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")
        return True
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    at = response.first
    while at < response.end:
        await asyncio.sleep(random.random() * 2 * PACE)
        stop = min(response.end, at + random.choice((1, 1, 2)))
        if fault == "cut" and stop > response.end // 2:
            return False
        data = response.chunk(at, stop)
        given = json.loads(data.removeprefix(b"data: "))["usage"]["prompt_tokens"]
        reports.append((given, stop - response.first))
        writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        await writer.drain()
        at = stop
    writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
    return True


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, log: Log) -> None:
    """Answers the requests of one connection, one after another."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split(" ", 2)[1]
            fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            body = await reader.readexactly(int(fields.get("content-length", "0")))
            if body:
                if not await answer(writer, path, json.loads(body), log):
                    break
            else:
                data = json.dumps(log.attempts if path == "/log" else {}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
                writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(data), data))
            await writer.drain()
    writer.close()


async def main(count: int) -> None:
    """Serves until the process is killed."""
    log = Log()
    servers = [
        await asyncio.start_server(lambda r, w: serve(r, w, log), "127.0.0.1", 0, backlog=1000)
        for _ in range(count)
    ]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
