"""What each case has at hand: a running engine, a recorder before it, and a tokengrpc server before that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from tokenstreaming.v1 import input_pb2

from tests.real_engines import direct
from tests.support.harness import Outcome, collect

if TYPE_CHECKING:
    from tests.real_engines.kind import Engine, Kind
    from tests.real_engines.recorder import Recorder
    from tests.support.harness import Served

PROMPT = "Tell me a story, 日本 🦜:"


@dataclass(frozen=True)
class Bench:
    """A kind of engine with a running one, the recorder and the server."""

    kind: Kind
    engine: Engine
    recorder: Recorder
    server: Served

    async def stream(self, generation_id: str = "", **fields: Any) -> Outcome:
        """Calls StreamTokens to its end, with `PROMPT`, 24 tokens and temperature 0 if not given."""
        return await collect(self.call(generation_id, **fields))

    def call(self, generation_id: str = "", **fields: Any) -> Any:
        """Calls StreamTokens."""
        if not {"prompt", "conversation", "prompt_token_ids"} & fields.keys():
            fields["prompt"] = PROMPT
        fields.setdefault("max_output_token_count", 24)
        fields.setdefault("sampling", input_pb2.Sampling(temperature=0))
        return self.server.stream(generation_id, **fields)

    async def ask(self, content: Any = PROMPT, api: str = "", **fields: Any) -> direct.Answer:
        """Asks the engine itself, with the API that tokengrpc uses for a prompt unless `api` is given."""
        return await direct.ask(
            self.engine.direct_url, api or self.kind.prompt_api, self.kind.model, content, **fields
        )

    def needs(self, *capabilities: str) -> None:
        """Skips the case if tokengrpc does not offer these capabilities for the engine."""
        catalog = self.server.server.catalog
        assert catalog is not None
        names = {capability.name for capability in catalog.resolve("scripted").capabilities}
        if missing := [name for name in capabilities if name not in names]:
            pytest.skip(f"not offered: {', '.join(missing)}")

    def needs_script(self, what: str) -> None:
        """Skips the case if the model cannot be made to say something."""
        if not self.kind.scripted:
            pytest.skip(f"random weights: the model cannot be made to {what}")


def conversation(*texts: str) -> input_pb2.Conversation:
    """Returns turns of a user and an assistant."""
    roles = (input_pb2.ROLE_USER, input_pb2.ROLE_ASSISTANT)
    messages = [
        input_pb2.ConversationMessage(role=roles[number % 2], text=text) for number, text in enumerate(texts)
    ]
    return input_pb2.Conversation(messages=messages)
