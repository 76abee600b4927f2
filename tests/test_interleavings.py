"""Any interleaving of tokens, readers, resumes, cancels and ends leaves every reader with the same truth."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from harness import check_gapless
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenstreaming.v1 import token_stream_pb2 as pb

from tokengrpc.admission import Admission, Tenant
from tokengrpc.catalog import Catalog, ServedModel
from tokengrpc.clock import SystemClock
from tokengrpc.config import LimitSettings
from tokengrpc.errors import EngineLost, GenerationNotFound, SequenceOutOfRange
from tokengrpc.model import Capability, Delta, EngineFinish, FinishReason, UsageReport
from tokengrpc.request import GenerationRequest, Recovery
from tokengrpc.stores.memory import MemoryEventLogs, MemoryLedger
from tokengrpc.streams.registry import Streams
from tokengrpc.streams.run import Services
from tokengrpc.wire.encoding import ProtobufEncoder

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

TENANT = Tenant(name="t")


class HandDriven:
    """An engine whose next batch is whatever is put into its queue; an exception is raised."""

    name = kind = "hand"
    capabilities = frozenset(Capability)
    healthy = True

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Sequence[Delta] | Exception] = asyncio.Queue()
        self.open = 0

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def generate(self, request, continue_from=None) -> AsyncGenerator[Sequence[Delta], None]:
        self.open += 1
        try:
            while True:
                batch = await self.queue.get()
                if isinstance(batch, Exception):
                    raise batch
                yield batch
        finally:
            self.open -= 1


class Letters:
    name, exact = "letters", False

    def count(self, text: str) -> int:
        return len(text)

    def count_input(self, messages, tools) -> int:
        return 1


@dataclass
class Reading:
    """A reader that keeps everything it got."""

    after: int
    messages: list[pb.StreamTokensResponse] = field(default_factory=list)
    task: asyncio.Task[Any] | None = None

    async def run(self, run, reader) -> None:
        with reader:
            while (data := await reader.next()) is not None:
                self.messages.append(pb.StreamTokensResponse.FromString(data))


class House:
    """Streams over a hand-driven engine."""

    def __init__(self) -> None:
        self.engine = HandDriven()
        self.ledger = MemoryLedger()
        self.admission = Admission(10)
        model = ServedModel(name="m", engines=(self.engine,), tokenizer=Letters())
        services = Services(
            clock=SystemClock(),
            encoder=ProtobufEncoder(),
            ledger=self.ledger,
            logs=MemoryEventLogs(log_bytes=1 << 20, total_bytes=1 << 20),
            limits=LimitSettings(),
        )
        self.streams = Streams(services, Catalog([model]), self.admission)
        self.streams.ready = True
        self.readings: list[Reading] = []

    def read(self, run, reader, after: int) -> None:
        reading = Reading(after)
        reading.task = asyncio.ensure_future(reading.run(run, reader))
        self.readings.append(reading)


async def settle(turns: int = 12) -> None:
    """Lets every task run as far as it can."""
    for _ in range(turns):
        await asyncio.sleep(0)


STEPS = st.one_of(
    st.tuples(st.just("feed"), st.lists(st.sampled_from(["a", "é", "🙂", ""]), min_size=1, max_size=5)),
    st.tuples(st.just("usage"), st.integers(0, 30)),
    st.tuples(st.just("attach"), st.just(0)),
    st.tuples(st.just("resume"), st.integers(0, 12)),
    st.tuples(st.just("leave"), st.integers(0, 3)),
    st.tuples(st.just("turn"), st.integers(0, 3)),
    st.tuples(st.sampled_from(["cancel", "finish", "lose"]), st.just(0)),
)


@settings(max_examples=300)
@given(st.lists(STEPS, max_size=25), st.booleans())
def test_any_interleaving(steps, detach) -> None:
    """Gapless sequences and indexes, usage that does not go back, one `finished`, nothing left behind."""
    asyncio.run(interleave(steps, detach))


async def interleave(steps, detach: bool) -> None:
    house = House()
    request = GenerationRequest(
        generation_id="g", prompt="p", recovery=Recovery(detach=detach), fingerprint=b"1"
    )
    house.read(*house.streams.open(request, TENANT, None), 0)
    run = house.streams.get(TENANT, "g")
    house.engine.queue.put_nowait(())
    await settle()
    for name, argument in steps:
        await step(house, request, name, argument)
    house.engine.queue.put_nowait([Delta(finish=EngineFinish(reason=FinishReason.END))])
    await settle()
    if not run.done:
        await house.streams.cancel(TENANT, "g")
    await settle(40)
    check(house, run)
    house.streams.close()


async def step(house: House, request: GenerationRequest, name: str, argument: Any) -> None:
    put = house.engine.queue.put_nowait
    match name:
        case "feed":
            put([Delta(text=text, count=1) for text in argument])
        case "usage":
            put([Delta(usage=UsageReport(input=3, output=argument))])
        case "finish":
            put([Delta(text="z", count=1, finish=EngineFinish(reason=FinishReason.END, word="stop"))])
        case "lose":
            put(EngineLost("gone"))
        case "attach":
            house.read(*house.streams.open(request, TENANT, None), 0)
        case "resume":
            try:
                house.read(*house.streams.resume(TENANT, "g", argument, None), argument)
            except SequenceOutOfRange:
                assert argument > house.streams.get(TENANT, "g").log.last_sequence
        case "leave":
            here = [r for r in house.readings if r.task and not r.task.done()]
            if here:
                here[argument % len(here)].task.cancel()
        case "cancel":
            await house.streams.cancel(TENANT, "g")
        case "turn":
            await settle(argument)


def check(house: House, run) -> None:
    assert run.done
    assert house.engine.open == 0
    assert house.admission.active == 0
    assert not run.readers
    (entry,) = house.ledger.entries.values()
    records = run.log.read(0, 0) and [run.log.read(i, 0)[0] for i in range(run.log.last_sequence)]
    whole = [pb.StreamTokensResponse.FromString(r.body + r.tail) for r in records]
    assert [m.sequence for m in whole] == list(range(1, len(whole) + 1))
    assert [m.HasField("finished") for m in whole].count(True) == 1
    assert whole[-1].HasField("finished")
    assert entry.usage.output == whole[-1].usage.output_token_count
    check_gapless(whole)
    for reading in house.readings:
        check_gapless(reading.messages, after=reading.after)
        if reading.task.cancelled():
            continue
        assert reading.task.exception() is None
        events = [m for m in reading.messages if m.WhichOneof("notice") != "attached"]
        tokens = [t for m in events for t in m.tokens]
        assert tokens == [t for m in whole if m.sequence > reading.after for t in m.tokens]
        if reading.after < len(whole):
            assert events[-1] == whole[-1]


async def test_a_stop_before_the_first_step_still_ends_it() -> None:
    """A generation whose reader leaves in the same instant is ended, not left hanging."""
    house = House()
    run, reader = house.streams.open(GenerationRequest(prompt="p"), TENANT, None)
    with reader:
        pass
    await asyncio.wait_for(run.wait_ended(), 5)
    assert house.admission.active == 0
    with pytest.raises(GenerationNotFound):
        house.streams.get(TENANT, run.request.generation_id)


async def test_what_the_engine_has_ended_is_not_cancelled_any_more() -> None:
    """The end that came first counts, also while the bill is being written."""

    class Waiting(MemoryLedger):
        def __init__(self) -> None:
            super().__init__()
            self.reached, self.go = asyncio.Event(), asyncio.Event()

        async def close(self, entry) -> None:
            self.reached.set()
            await self.go.wait()
            await super().close(entry)

    house = House()
    ledger = Waiting()
    object.__setattr__(house.streams._services, "ledger", ledger)
    house.read(*house.streams.open(GenerationRequest(generation_id="g", prompt="p"), TENANT, None), 0)
    house.engine.queue.put_nowait(())
    house.engine.queue.put_nowait([Delta(text="a", count=1, finish=EngineFinish(reason=FinishReason.END))])
    await ledger.reached.wait()
    cancelling = asyncio.ensure_future(house.streams.cancel(TENANT, "g"))
    await settle()
    ledger.go.set()
    run = await cancelling
    await house.readings[0].task
    assert run.generation.ending.reason is FinishReason.END
    house.streams.close()
