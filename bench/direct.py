"""The same crowd as `crowd`, straight at the engine over HTTP, to compare its gaps with. Prints JSON."""

from __future__ import annotations

import asyncio
import json
import random
import time
from typing import Any, cast

from bench.crowd import Job, main
from bench.gaps import Lag, Percentiles
from bench.script import MODEL, Script

_TOKEN = b'"content":"'
_END = b"data: [DONE]"


class Stream(asyncio.Protocol):
    """One request on a connection of its own. `ended` is set at the end of its answer."""

    def __init__(self, script: Script, gaps: Percentiles, first_tokens: list[float]) -> None:
        self._script = script
        self._gaps = gaps
        self._first_tokens = first_tokens
        self._began = self._last = 0.0
        self.ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends the request."""
        self._transport = cast("asyncio.Transport", transport)
        self._began = time.monotonic()
        messages = [{"role": "user", "content": self._script.prompt()}]
        body = json.dumps({"model": MODEL, "messages": messages, "stream": True}).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: engine\r\ncontent-length: %d\r\n\r\n"
        self._transport.write(head % len(body) + body)

    def data_received(self, data: bytes) -> None:
        """Records when tokens come. The first chunk has a role and an empty text."""
        now = time.monotonic()
        if _TOKEN in data.replace(b'"content":""', b""):
            if self._last:
                self._gaps.add(now - self._last)
            else:
                self._first_tokens.append(now - self._began)
            self._last = now
        if _END in data:
            self._finish(whole=True)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """Ends the stream, which is incomplete if it had not ended."""
        self._finish(whole=False)

    def _finish(self, *, whole: bool) -> None:
        if not self.ended.done():
            self.ended.set_result(whole)
            self._transport.close()


async def run(job: Job) -> dict[str, Any]:
    """Runs the job and returns its figures, named as those of a crowd."""
    chance, gaps, lag = random.Random(job.seed), Percentiles(), Lag()
    first_tokens: list[float] = []
    host, _, port = job.target.rpartition(":")
    loop = asyncio.get_running_loop()

    async def one(start: float) -> bool:
        await asyncio.sleep(start)
        make = Stream(job.script(chance), gaps, first_tokens)
        await loop.create_connection(lambda: make, host, int(port))
        return await make.ended

    await asyncio.sleep(job.begin - time.monotonic())
    watch = asyncio.create_task(lag.watch())
    starts = [chance.random() * job.ramp_s for _ in range(job.calls)]
    whole = await asyncio.gather(*map(one, starts))
    watch.cancel()
    return {
        "completed": sum(whole),
        "first_tokens": first_tokens,
        "gaps": gaps.counts,
        "lag": lag.times.counts,
    }


if __name__ == "__main__":
    main(run, __doc__)
