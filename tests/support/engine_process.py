"""Engines in processes of their own, to be killed. Token i is a function of the prompt and i.

    python engine_process.py PACE    # reads one port per line; writes `PORT PID` once an engine listens there

The parent process only forks engines. Forking is fast, but unsafe in a process that has gRPC's threads. When
the parent's input ends, it kills all engines.

An engine speaks vLLM's dialect, chat and completions: token ids, prompt ids and usage on every chunk. If a
prompt of ids ends with another engine's output, the engine continues it. An output id that differs from the
engine's own is refused with status 400, so that a gap or a duplicate never passes for a correct answer. A
prompt `… of COUNT` with a line end may be continued by text as well, and then has so many tokens in all. The
script imports nothing of the package.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import zlib
from contextlib import suppress
from typing import Any

FIRST_OUTPUT_ID = 1000
# Characters of several bytes. Two tokens share one; the first of them adds no text.
CHARACTERS = "éß€🦜"


def prompt_ids(prompt: str) -> list[int]:
    """Returns one id per byte."""
    return list(prompt.encode())


def token_id(prompt: str, i: int) -> int:
    """Returns the id of token i, which differs for each prompt and i."""
    return FIRST_OUTPUT_ID + i * 1000 + zlib.crc32(f"{prompt}/{i}".encode()) % 1000


def split(prompt: str, i: int) -> bool:
    """Returns whether token i is the first half of a character."""
    return i % 7 == zlib.crc32(prompt.encode()) % 7


def token_text(prompt: str, i: int) -> str:
    """Returns the text that token i adds: complete characters only."""
    if split(prompt, i):
        return ""
    character = CHARACTERS[i % len(CHARACTERS)] if i and split(prompt, i - 1) else ""
    return f"{character}{token_id(prompt, i) % 1000}:{i} "


def answer(prompt: str, count: int) -> str:
    """Returns the text of the first `count` tokens."""
    return "".join(token_text(prompt, i) for i in range(count))


class Wrong(Exception):
    """The request does not match the output of any engine that was killed."""


def read_request(path: str, body: dict[str, Any]) -> tuple[str, int]:
    """Returns the prompt's text and the number of output tokens that the request continues. Raises Wrong."""
    if path.endswith("/chat/completions"):
        return body["messages"][-1]["content"], 0
    prompt = body["prompt"]
    if isinstance(prompt, str):
        return _continued(prompt)
    text = bytes(number for number in prompt if number < FIRST_OUTPUT_ID).decode()
    before = [number for number in prompt if number >= FIRST_OUTPUT_ID]
    if prompt != prompt_ids(text) + before:
        raise Wrong("output among the input")
    for i, number in enumerate(before):
        if number != token_id(text, i):
            raise Wrong(f"id {number} at {i} is not {token_id(text, i)}")
    return text, len(before)


def planned_length(prompt: str) -> int | None:
    """Returns the number of tokens that a prompt `… of COUNT` with a line end asks for; None for others."""
    first, line_end, _ = prompt.partition("\n")
    return int(first.rpartition(" of ")[2]) if line_end else None


def _continued(prompt: str) -> tuple[str, int]:
    """Returns a prompt without the output after its line end, and the tokens in that. Raises Wrong."""
    count, line = planned_length(prompt), prompt.partition("\n")[0] + "\n"
    if count is None:
        return prompt, 0
    output = prompt[len(line) :]
    # Of an incomplete character, the whole comes again.
    found = next((n for n in range(count + 1) if answer(line, n) == output), None)
    if found is None:
        raise Wrong(f"text that is no beginning of the answer: {output[-40:]!r}")
    return line, found


class Response:
    """The chunks of one response."""

    def __init__(self, path: str, body: dict[str, Any]) -> None:
        self.chat = path.endswith("/chat/completions")
        self.prompt, self.first = read_request(path, body)
        most = self.first + body["max_tokens" if "max_tokens" in body else "max_completion_tokens"]
        self.end = min(most, planned_length(self.prompt) or most)
        self.ids = bool(body.get("return_token_ids"))
        self._given = len(prompt_ids(self.prompt)) + self.first

    def chunk(self, start: int, stop: int) -> bytes:
        """Returns tokens `start` to `stop` as one event. The last token's event has the finish reason."""
        text = "".join(token_text(self.prompt, i) for i in range(start, stop))
        choice: dict[str, Any] = {"index": 0, "finish_reason": "length" if stop == self.end else None}
        choice |= {"delta": {"content": text}} if self.chat else {"text": text}
        done = stop - self.first
        usage = {"prompt_tokens": self._given, "completion_tokens": done, "total_tokens": self._given + done}
        event: dict[str, Any] = {"id": "x", "model": "m", "choices": [choice], "usage": usage}
        if self.ids:
            choice["token_ids"] = [token_id(self.prompt, i) for i in range(start, stop)]
            if start == self.first:
                # vLLM has them beside the choices of a chat, and within those of a completion.
                (event if self.chat else choice)["prompt_token_ids"] = prompt_ids(self.prompt) + [
                    token_id(self.prompt, i) for i in range(self.first)
                ]
        return b"data: " + json.dumps(event).encode() + b"\n\n"


async def respond(writer: asyncio.StreamWriter, path: str, body: dict[str, Any], pace: float) -> None:
    """Answers one request with random delays of `pace` seconds on average."""
    chance = random.Random()
    try:
        response = Response(path, body)
    except Wrong as error:
        text = json.dumps({"error": {"message": str(error), "type": "BadRequestError"}}).encode()
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(text), text))
        await writer.drain()
        return
    await asyncio.sleep(chance.random() * 2 * pace)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    i = response.first
    while True:  # once also if the output is complete: its end is not yet told
        await asyncio.sleep(chance.random() * 2 * pace)
        stop = min(response.end, i + chance.choice((1, 1, 1, 2, 3)))
        data = response.chunk(i, stop)
        writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        await writer.drain()
        i = stop
        if i == response.end:
            break
    writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
    await writer.drain()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pace: float) -> None:
    """Answers the requests of one connection, one after another."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split(" ", 2)[1]
            fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            body = await reader.readexactly(int(fields.get("content-length", "0")))
            if body:
                await respond(writer, path, json.loads(body), pace)
            else:
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
                )
                await writer.drain()
    writer.close()


async def main(port: int, pace: float) -> None:
    """Serves on a port until the process is killed."""
    while True:
        try:
            server = await asyncio.start_server(lambda r, w: serve(r, w, pace), "127.0.0.1", port)
            break
        except OSError:  # the killed engine has not released the port yet
            await asyncio.sleep(0.002)
    print(port, os.getpid(), flush=True)
    await server.serve_forever()


def nursery(pace: float) -> None:
    """Forks an engine for each port that is read from stdin, and kills them all when stdin ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps killed engines
    pids = []
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            sys.stdin.close()
            asyncio.run(main(int(line), pace))
        pids.append(pid)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    nursery(float(sys.argv[1]))
