"""The real core on hand-driven engines, with readers that check every message against the complete log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.checksums import ChecksumReader, checksum_of
from tests.support.services import make_services
from tokengrpc.config import LimitSettings
from tokengrpc.core.admission import Admission
from tokengrpc.core.catalog import Catalog, ServedModel
from tokengrpc.core.model import Capability, Delta, UsageReport
from tokengrpc.core.pooled_engine import PooledEngine
from tokengrpc.core.routing import EnginePool
from tokengrpc.core.tenant import Identity, Tenant
from tokengrpc.errors import TokenGrpcError
from tokengrpc.generations.buffer import EventBuffer, EventBuffers
from tokengrpc.generations.registry import GenerationRegistry
from tokengrpc.rpc import delivery
from tokengrpc.rpc.interceptor import CallFailed
from tokengrpc.stores.memory import MemoryEventSink

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from tests.support.virtual_time import VirtualLoop
    from tokengrpc.core.ports.engine import Continuation
    from tokengrpc.core.ports.ledger import UsageRecord
    from tokengrpc.core.ports.log import AppendOutcome, Record
    from tokengrpc.generations.subscription import Subscription
    from tokengrpc.generations.task import GenerationTask

TENANT = Tenant(name="t")
CALLER = Identity(tenant=TENANT)

LIMITS = LimitSettings(
    max_readers=3,
    max_time_limit=60.0,
    first_token_timeout=20.0,
    inter_token_timeout=10.0,
    detach_ttl=5.0,
    replay_ttl=15.0,
    heartbeat_interval=4.0,
    write_stall_timeout=8.0,
)


@dataclass(frozen=True)
class UsageGrowth:
    """The engine reports its own usage: so many tokens more than it sent."""

    more: int


Batch = Sequence[Delta] | Exception | UsageGrowth | None


@dataclass
class Handed:
    """What engines are to send for one generation, and have sent.

    `text` is what readers must have received.
    """

    queue: asyncio.Queue[Sequence[Delta] | Exception | UsageGrowth | None] = field(
        default_factory=asyncio.Queue
    )
    text: str = ""
    arguments: str = ""
    output: int = 0
    attempts: int = 0
    asked_at: float = 0.0
    sent_at: float | None = None
    """When the last engine that was called sent its latest output."""
    told_usage: bool = False
    wrong: AssertionError | None = None
    """The error of an engine that was called wrongly. To the product, it is a bug of the engine."""


class HandDriven:
    """An engine that takes its batches from a generation's queue, and raises the exceptions in it.

    None ends the output without an end mark. A continuation starts with the next batch. Its request must
    contain exactly the output that readers can receive, and with a sink also output that the sink has not
    acknowledged yet.
    """

    kind = "hand"
    capabilities = frozenset(Capability)
    healthy = True

    def __init__(
        self, name: str, handed: dict[str, Handed], read: Callable[[str], str], *, remote: bool
    ) -> None:
        """Creates the engine. `read` is the text of a generation that readers can receive."""
        self.name = name
        self._remote = remote
        self.open: set[str] = set()
        self._handed = handed
        self._read = read

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def generate(self, request, continue_from=None) -> AsyncGenerator[Sequence[Delta], None]:
        name = request.generation_id
        try:
            assert name not in self.open, "an engine runs a generation once at a time"
            handed = self._begin(name, continue_from)
        except AssertionError as error:
            self._handed[name].wrong = error
            raise
        self.open.add(name)
        try:
            produced = 0
            while (batch := await handed.queue.get()) is not None:
                if isinstance(batch, Exception):
                    raise batch
                if isinstance(batch, UsageGrowth):
                    produced += batch.more
                    handed.output += batch.more
                    handed.told_usage = True
                    yield [Delta(usage=UsageReport(input=3, output=produced), count=0)]
                    continue
                for delta in batch:
                    handed.text += delta.text or ""
                    handed.arguments += "".join(part.arguments for part in delta.fragments)
                    handed.output += delta.count
                    produced += delta.count
                    handed.sent_at = asyncio.get_running_loop().time()
                yield batch
        finally:
            self.open.remove(name)

    def _begin(self, name: str, continue_from: Continuation | None) -> Handed:
        handed = self._handed[name]
        handed.attempts += 1
        handed.asked_at, handed.sent_at = asyncio.get_running_loop().time(), None
        read, continued = self._read(name), continue_from.text if continue_from else ""
        if self._remote:
            assert continued.startswith(read)
            assert handed.text.startswith(continued)
        else:
            assert continued == read
        # Output of the previous engine that no reader can receive is lost with that engine.
        handed.text = continued
        return handed


def text_of(messages: Sequence[pb.StreamTokensResponse]) -> str:
    return "".join(token.text for message in messages for token in message.tokens)


class Letters:
    name, exact = "letters", False

    def count(self, text: str) -> int:
        return len(text)

    def count_input(self, messages, tools) -> int:
        return 1


class Clock:
    """The loop's time, from a fixed date."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now_ns(self) -> int:
        return 10**18 + round(self._loop.time() * 1e9)


class Ledger:
    """A ledger that checks that each record begins and finishes once, in this order.

    Calls take loop iterations.
    """

    durable = True

    def __init__(self) -> None:
        # If set, `finish` waits for it.
        self.hold: asyncio.Event | None = None
        self.opened: dict[str, UsageRecord] = {}
        self.closed: dict[str, UsageRecord] = {}

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def begin(self, record: UsageRecord) -> None:
        assert record.record_id not in self.opened
        self.opened[record.record_id] = record
        await asyncio.sleep(0)

    async def finish(self, record: UsageRecord) -> None:
        await asyncio.sleep(0)
        if self.hold is not None:
            await self.hold.wait()
        assert record.record_id in self.opened
        assert record.record_id not in self.closed
        self.closed[record.record_id] = record

    async def checkpoint(self, usages) -> None:
        raise AssertionError("nothing is running out of the ledger's sight here")

    async def settle(self, record_id, usage) -> None:
        raise AssertionError("no engine here reports usage late")


class TruthfulBuffer(EventBuffer):
    """A buffer that also keeps all records that were ever appended."""

    __slots__ = ("grown_at", "truth")

    def __init__(self, buffers: EventBuffers, max_bytes: int, incarnation: str) -> None:
        super().__init__(buffers, max_bytes, incarnation)
        self.truth: list[pb.StreamTokensResponse] = []
        self.grown_at: float | None = None

    def append(self, records: Sequence[Record]) -> None:
        self.truth += [pb.StreamTokensResponse.FromString(record.body + record.tail) for record in records]
        if any(message.tokens or message.tool_call_fragments for message in self.truth[-len(records) :]):
            self.grown_at = asyncio.get_running_loop().time()
        super().append(records)


class Buffers(EventBuffers):
    """Creates truthful buffers."""

    def __init__(self, buffer_bytes: int) -> None:
        super().__init__(buffer_bytes=buffer_bytes, total_bytes=1 << 20)
        self._each = buffer_bytes
        self._created = 0

    def create(self) -> TruthfulBuffer:
        self._created += 1
        return TruthfulBuffer(self, self._each, f"log-{self._created}")


class SlowSink(MemoryEventSink):
    """An event sink that acknowledges appends some loop iterations later, as a remote one does."""

    async def append(self, key, epoch, records) -> AppendOutcome:
        for _ in range(3):
            await asyncio.sleep(0)
        outcome = await super().append(key, epoch, records)
        await asyncio.sleep(0)
        return outcome


@dataclass(eq=False)
class Reading:
    """A call that reads a generation through the real delivery.

    If `allowed` is None, it accepts every message.
    """

    allowed: int | None
    task: GenerationTask | None = None
    begin: int = 0
    cursor: int = 0
    outcome: BaseException | str = "under way"
    call: asyncio.Task[None] | None = None
    finished: int = 0
    checksums: ChecksumReader | None = None
    joined_at: float = 0.0
    left_at: float = 0.0
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, attach: Callable[[], tuple[GenerationTask, Subscription]]) -> None:
        """Reads to the end and stores the outcome. Raises nothing but CancelledError."""
        self.joined_at = asyncio.get_running_loop().time()
        try:
            self.task, subscription = attach()
            self.begin = self.cursor = subscription.cursor
            before = self.task.subscribers.buffer.truth[: self.begin]
            self.checksums = ChecksumReader(
                checksum_of(before), has_output=any(m.HasField("output_checksum") for m in before)
            )
            await delivery.stream(self.task, subscription, self)  # type: ignore[arg-type]
            self.outcome = "ended"
        except asyncio.CancelledError:
            self.outcome = "left"
            raise
        except CallFailed as failed:
            self.outcome = failed.error
        except TokenGrpcError as error:
            self.outcome = error
        finally:
            self.left_at = asyncio.get_running_loop().time()

    async def write(self, data: bytes) -> None:
        """Accepts a message when there is room, as a gRPC context does."""
        while self.allowed is not None and not self.allowed:
            self._more.clear()
            await self._more.wait()
        if self.allowed is not None:
            self.allowed -= 1
        self._check(pb.StreamTokensResponse.FromString(data))

    def allow(self, count: int) -> None:
        self.allowed = (self.allowed or 0) + count
        self._more.set()

    def _check(self, message: pb.StreamTokensResponse) -> None:
        """Checks that a message has the next events of the complete log.

        None missing, duplicated or changed.
        """
        self.checksums.take(message)
        truth = self.task.subscribers.buffer.truth
        if message.WhichOneof("notice"):
            assert message.sequence == self.cursor
            return
        assert self.cursor < message.sequence <= len(truth)
        assert not self.finished, "nothing follows the end"
        events = truth[self.cursor : message.sequence]
        self.cursor = message.sequence
        whole = pb.StreamTokensResponse()
        for event in events:
            whole.tokens.extend(event.tokens)
            whole.tool_call_fragments.extend(event.tool_call_fragments)
        last = pb.StreamTokensResponse()
        last.CopyFrom(events[-1])
        del last.tokens[:]
        del last.tool_call_fragments[:]
        whole.MergeFrom(last)
        assert message == whole
        self.finished += message.HasField("finished")


class House:
    """Generations and everything that they need."""

    def __init__(self, loop: VirtualLoop, *, remote: bool, log_bytes: int) -> None:
        self.loop = loop
        self.handed: dict[str, Handed] = {}
        self.engines = [HandDriven(name, self.handed, self._read, remote=remote) for name in "ab"]
        self.ledger = Ledger()
        self.admission = Admission(2)
        self.buffers = Buffers(log_bytes)
        self.services = make_services(
            self.ledger,
            clock=Clock(loop),
            buffers=self.buffers,
            limits=LIMITS,
            sink=SlowSink() if remote else None,
        )
        self.model: Any = ServedModel(
            name="m", pool=EnginePool([PooledEngine(engine) for engine in self.engines]), tokenizer=Letters()
        )
        self.registry = GenerationRegistry(self.services, Catalog([self.model]), self.admission)
        self.registry.ready = True
        self.readings: list[Reading] = []

    @property
    def working(self) -> list[str]:
        """The generations for which an engine is running."""
        return [name for engine in self.engines for name in engine.open]

    def _read(self, name: str) -> str:
        task = self.registry.find(TENANT, name)
        assert task is not None
        return text_of(task.subscribers.buffer.truth)

    def call(self, attach: Callable[[], tuple[GenerationTask, Subscription]], *, slow: bool) -> Reading:
        """Attaches a caller in its handler's first step, as the servicer does."""
        reading = Reading(0 if slow else None)
        reading.call = self.loop.create_task(reading.read(attach))
        self.readings.append(reading)
        return reading
