"""Direct calls to an engine over HTTP, without tokengrpc: what the engine itself answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import aiohttp


@dataclass(frozen=True)
class Answer:
    """The engine's own answer, which was not streamed."""

    status: int
    body: Any

    @property
    def text(self) -> str:
        """The text of the answer."""
        choice = self.body["choices"][0]
        return str((choice["message"]["content"] or "") if "message" in choice else choice["text"])

    @property
    def usage(self) -> tuple[int, int]:
        """The counts of input and output tokens."""
        usage = self.body["usage"]
        return usage["prompt_tokens"], usage["completion_tokens"]


async def ask(url: str, api: str, model: str, content: Any, **fields: Any) -> Answer:
    """Sends a prompt or messages, at temperature 0 unless `fields` has another."""
    body: dict[str, Any] = {"model": model, "temperature": 0, "max_tokens": 24, **fields}
    if api == "completions":
        path, body["prompt"] = "/completions", content
    else:
        path = "/chat/completions"
        body["messages"] = [{"role": "user", "content": content}] if isinstance(content, str) else content
    async with aiohttp.ClientSession() as session, session.post(url + path, json=body) as answer:
        return Answer(answer.status, await answer.json(content_type=None))
