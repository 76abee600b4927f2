"""A load with which each query of the dashboards has data: all kinds of ends, failures and recoveries."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import grpc
from tokenstreaming.v1 import input_pb2
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.admin_service import having
from tests.support.engine_kills import Nursery
from tests.support.harness import OPTIONS, collect, read_until
from tests.support.ports import reserved_port
from tokengrpc.client.stubs import aio_stub

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = 4
EACH = 6
"""Failures of a kind in a round: together more than the ten that the error budget's alert needs."""

MOST = 60
"""Generations that the server takes: more than a round has."""

_CONFIG = """
admin_listen = "127.0.0.1:{admin}"

[limits]
max_generations = {most}
min_generations = 1000     # the machine of the tests is busy; here, only the number of generations rejects
drain_time = 60.0

[[tenants]]
name = "large"
key_file = "{key}"

[[tenants]]
name = "small"             # its second request is refused
key_file = "{small_key}"
requests_per_minute = 1
budgets = [{{ tokens = 100000, period = "day" }}]

[[models]]
name = "steady"
pace = 40.0

[[models]]
name = "narrow"            # the second generation waits
pace = 40.0
max_connections = 1

[[models]]
name = "busy"              # once both engines have failed, the first one is called again

[[models.engines]]
name = "one"
faults = {{ status = 503 }}

[[models.engines]]
name = "other"
faults = {{ status = 503 }}

[[models]]
name = "pair"

[[models.engines]]
name = "first"             # the other one continues its output
faults = {{ cut_at_token = 3 }}

[[models.engines]]
name = "second"
priority = 1

[[models]]
name = "locked"
faults = {{ status = 401 }}

[[models]]
name = "doomed"            # its engine is killed
kind = "openai"
dialect = "vllm"
base_url = "http://127.0.0.1:{engine}/v1"
health_check_interval = 0.2
"""


class BusyServer:
    """The settings of a server, and the load on it. `key` is a file with the key that most callers have."""

    def __init__(self, folder: Path) -> None:
        self.admin, self._engine = reserved_port(), reserved_port()
        self.config, self.key, small_key = folder / "busy.toml", folder / "busy.key", folder / "small.key"
        self.key.write_text("large")
        small_key.write_text("small")
        self.config.write_text(
            _CONFIG.format(
                admin=self.admin, engine=self._engine, most=MOST, key=self.key, small_key=small_key
            )
        )

    async def load(self, target: str, rounds: int = ROUNDS) -> None:
        """Makes all calls, for some seconds, so that counters grow between two scrapes."""
        async with Nursery() as nursery, grpc.aio.insecure_channel(target, options=OPTIONS) as channel:
            pid = await nursery.start(self._engine)
            load = _Load(channel)
            whole = await load.stream("doomed")
            assert whole.finished is not None, whole.message
            os.kill(pid, signal.SIGKILL)
            for number in range(rounds):
                await load.round(number)
            await load.fill()


class _Load:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = aio_stub(channel)

    def call(self, model: str, generation_id: str = "", tokens: int = 20, **fields: Any) -> Any:
        """Starts a generation."""
        key = fields.pop("key", "large")
        request = pb.StreamTokensRequest(
            generation_id=generation_id, model=model, max_output_token_count=tokens, **fields
        )
        if not request.HasField("conversation"):
            request.prompt = "hello"
        return self._stub.StreamTokens(request, **having(key))

    async def stream(self, model: str, **fields: Any) -> Any:
        """Reads a generation to its end."""
        return await collect(self.call(model, **fields))

    async def round(self, number: int) -> None:
        """Makes each kind of call at least once."""
        chat = input_pb2.ConversationMessage(role=input_pb2.ROLE_USER, text="hello")
        switching = {
            "conversation": input_pb2.Conversation(messages=[chat]),
            "recovery": input_pb2.Recovery(max_engine_switch_count=2),
        }
        await asyncio.gather(
            *(self.stream("narrow") for _ in range(3)),
            *(self.stream("busy") for _ in range(EACH)),
            *(self.stream("locked") for _ in range(EACH)),
            *(self.stream("doomed") for _ in range(EACH)),
            *(self.stream("pair", **switching) for _ in range(2)),
            *(self.stream("steady", key="small") for _ in range(2)),
            self.stream("no-such-model"),
            self.leave(),
            self.resume(f"resumed-{number}"),
        )

    async def leave(self) -> None:
        """Leaves in the middle of the output."""
        call = self.call("steady", tokens=200)
        await read_until(call, lambda message: len(message.tokens))
        call.cancel()

    async def resume(self, generation_id: str) -> None:
        """Reads a generation twice, once with a short deadline; then resumes it with a wrong checksum."""
        first = self.call("steady", generation_id, tokens=40)
        begun = await read_until(first, lambda message: len(message.tokens))
        resumed = pb.ResumeTokensRequest(generation_id=generation_id)
        await collect(self._stub.ResumeTokens(resumed, timeout=0.4, **having("large")))
        await collect(first)
        last = begun[-1].sequence
        wrong = pb.ResumeTokensRequest(generation_id=generation_id, after_sequence=last, output_checksum=1)
        await collect(self._stub.ResumeTokens(wrong, **having("large")))

    async def fill(self) -> None:
        """Starts more generations than the server takes, some each second."""
        running = [self.call("steady", tokens=150) for _ in range(MOST)]
        for call in running:
            await read_until(call, lambda message: message.HasField("started"))
        for token in range(0, 120, 40):
            await asyncio.gather(*(self.stream("steady") for _ in range(10)))
            await read_until(running[0], lambda message, at=token: any(t.index >= at for t in message.tokens))
        await asyncio.gather(*map(collect, running))
