"""Generations on a pool of engines that fail as planned, without a server or a socket."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.harness import check_gapless
from tests.support.services import make_services
from tokengrpc.config import LimitSettings
from tokengrpc.core.admission import Admission
from tokengrpc.core.catalog import Catalog, ServedModel
from tokengrpc.core.model import Capability
from tokengrpc.core.pooled_engine import PooledEngine
from tokengrpc.core.routing import EnginePool
from tokengrpc.core.tenant import Identity, Tenant
from tokengrpc.engines.builtin.engine import BuiltinEngine
from tokengrpc.errors import EngineLost
from tokengrpc.generations.registry import GenerationRegistry
from tokengrpc.stores.memory_ledger import MemoryLedger
from tokengrpc.tokenizers.tiktoken import load

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from tokengrpc.core.model import Delta
    from tokengrpc.core.ports.engine import Continuation
    from tokengrpc.core.ports.ledger import UsageRecord
    from tokengrpc.core.request import GenerationRequest

CALLER = Identity(tenant=Tenant(name="t"))


class Played:
    """An engine that yields one list of batches per call.

    It raises the exceptions in a list. At None it waits forever.
    """

    def __init__(
        self, name: str, *runs: Sequence[Any], kind: str = "played", without: Sequence[Capability] = ()
    ) -> None:
        self.name, self.kind, self.healthy = name, kind, None
        self.capabilities = frozenset(Capability) - frozenset(without)
        self.calls: list[tuple[GenerationRequest, Continuation | None]] = []
        self._runs = list(runs)

    async def start(self) -> None:
        """Does nothing."""

    async def close(self) -> None:
        """Does nothing."""

    async def generate(
        self, request: GenerationRequest, continue_from: Continuation | None = None
    ) -> AsyncGenerator[Sequence[Delta], None]:
        """Plays the next list."""
        self.calls.append((request, continue_from))
        for batch in self._runs.pop(0):
            if isinstance(batch, Exception):
                raise batch
            if batch is None:
                await asyncio.Event().wait()
            yield batch


class Dying(Played):
    """A builtin engine that is lost in run i after `lives[i]` tokens. Later runs succeed."""

    def __init__(self, name: str, lives: Sequence[int], *, kind: str = "builtin") -> None:
        super().__init__(name, kind=kind)
        self.capabilities = BuiltinEngine.capabilities
        self._engine = BuiltinEngine(name)
        self._lives = list(lives)

    async def generate(
        self, request: GenerationRequest, continue_from: Continuation | None = None
    ) -> AsyncGenerator[Sequence[Delta], None]:
        """Runs the builtin engine, and raises EngineLost after this run's number of tokens."""
        self.calls.append((request, continue_from))
        life = self._lives.pop(0) if self._lives else None
        async with aclosing(self._engine.generate(request, continue_from)) as batches:
            async for batch in batches:
                if life is None:
                    yield batch
                    continue
                kept, life = batch[:life], life - len(batch)
                yield kept
                if life <= 0 and kept != batch:
                    raise EngineLost(f"engine {self.name} was killed")


@dataclass
class Result:
    """The messages that a reader received of a generation, its ledger record and its error's reason."""

    messages: list[pb.StreamTokensResponse]
    entry: UsageRecord | None
    error: str = ""
    tokens: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokens = [token for message in self.messages for token in message.tokens]

    @property
    def text(self) -> str:
        """The text of all tokens."""
        return "".join(token.text for token in self.tokens)

    @property
    def ids(self) -> list[int]:
        """The ids of the tokens that count."""
        return [token.id for token in self.tokens if token.count]

    @property
    def finished(self) -> Any:
        """The event `finished`."""
        return self.messages[-1].finished

    @property
    def usage(self) -> Any:
        """The final usage."""
        return self.messages[-1].usage

    @property
    def switches(self) -> list[Any]:
        """The events `engine_switched`."""
        return [m.engine_switched for m in self.messages if m.WhichOneof("event") == "engine_switched"]


async def generate(request: GenerationRequest, *engines: Any, **limits: Any) -> Result:
    """Runs a request on a pool of engines in the order of their priority, and reads it to its end."""
    pool = EnginePool([PooledEngine(engine, priority=number) for number, engine in enumerate(engines)])
    ledger = MemoryLedger()
    services = make_services(ledger, limits=LimitSettings(**limits))
    model = ServedModel(name="m", pool=pool, tokenizer=load("o200k_base", exact=True))
    registry = GenerationRegistry(services, Catalog([model]), Admission(10))
    registry.ready = True
    task, subscription = registry.open(request, CALLER, None)
    messages = []
    with subscription:
        while (data := await subscription.next()) is not None:
            messages.append(pb.StreamTokensResponse.FromString(data))
    await task.wait_ended()
    assert not any(pooled.running for pooled in pool.engines)
    assert pool.waiting == 0
    check_gapless(messages)
    termination = task.snapshot().termination
    error = termination.error.reason if termination is not None and termination.error else ""
    registry.close()
    return Result(messages, next(iter(ledger.records.values()), None), error)
