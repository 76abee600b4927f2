"""Reads answers of a relay that has no gRPC, as server-sent events in the format of OpenAI."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import aiohttp

from bench.answer import Answer
from bench.script import MODEL

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.answer import Tally
    from bench.script import Script


class SseCaller:
    """A caller like `Caller`, over HTTP. Each call that is open has a connection of its own."""

    def __init__(self, target: str) -> None:
        self._url = f"http://{target}/v1"
        self._session: aiohttp.ClientSession | None = None

    async def connect(self) -> None:
        """Makes a place for connections."""
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def read(
        self, script: Script, tally: Tally, on_first_token: Callable[[], None] | None = None
    ) -> None:
        """Reads an answer, and checks it. A piece of text is a token.

        If the call fails or is cancelled, the part that arrived is checked.
        """
        assert self._session is not None, "it is not connected"
        answer = Answer(script, tally)
        try:
            async with self._session.post(f"{self._url}/chat/completions", json=body(script)) as response:
                response.raise_for_status()
                async for line in response.content:
                    if not line.startswith(b"data: {"):
                        continue
                    tally.messages += 1
                    _take(json.loads(line[6:]), answer)
                    if on_first_token is not None and answer.token_count:
                        on_first_token()
                        on_first_token = None
        except aiohttp.ClientError as error:
            tally.complain(f"{type(error).__name__}: {error}")
        finally:
            answer.check()

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()


def body(script: Script) -> dict[str, Any]:
    """Returns the body of a call."""
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": script.prompt()}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def _take(event: dict[str, Any], answer: Answer) -> None:
    for choice in event["choices"]:
        if piece := choice["delta"].get("content"):
            answer.take(piece, 1)
    if usage := event.get("usage"):
        answer.usage = usage["completion_tokens"]
