"""For any sequence of actions of callers, engines and time, readers receive correct output without leaks.

Hypothesis chooses the steps, and shrinks a failing sequence to the shortest one. Time is virtual: all timers
of the core run, and the test advances the clock.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import hypothesis.stateful as machine
import pytest
from hypothesis import settings
from hypothesis import strategies as st

from tests.generations.stateful.house import CALLER, LIMITS, TENANT, Handed, House, UsageGrowth
from tests.generations.stateful.story import Story, check_outcome, check_reason, check_story
from tests.support.checksums import checksum_of
from tests.support.harness import check_gapless
from tests.support.profiles import NIGHTLY, examples
from tests.support.virtual_time import VirtualLoop
from tokengrpc.core.model import Cursor, Delta, EngineFinish, FinishReason, ToolCallFragment
from tokengrpc.core.request import GenerationRequest, Recovery
from tokengrpc.errors import (
    EngineLost,
    GenerationIdReused,
    GenerationNotFound,
    LogDiverged,
    Overloaded,
    ReaderLimit,
    ReplayExpired,
    SequenceOutOfRange,
    TokenGrpcError,
)

if TYPE_CHECKING:
    from tokengrpc.generations.task import GenerationTask

NAMES = st.sampled_from("aaab")
SWITCHES = st.sampled_from([0, 1, 2, 2])
PICKS = st.integers(0, 9)
USUALLY = st.sampled_from([True, True, False])
PIECES = st.lists(st.sampled_from(["a", "é", "🙂", ""]), min_size=1, max_size=4)
ENDINGS = st.sampled_from([EngineLost("gone"), EngineLost("gone"), None, None, RuntimeError("a bug")])


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


# 2,000 runs take a minute or more, several on a busy machine. The nightly profile sets its own timeout.
pytestmark = [] if NIGHTLY else [pytest.mark.timeout(600)]


class AnyOrder(machine.RuleBasedStateMachine):
    """The steps that Hypothesis chooses from."""

    @machine.initialize(
        remote=st.booleans(),
        log_bytes=st.sampled_from([1 << 20, 200]),
        detach=USUALLY,
        switches=SWITCHES,
        slow=st.booleans(),
    )
    def build(self, remote: bool, log_bytes: int, detach: bool, switches: int, slow: bool) -> None:
        """Creates the store, which may be slow or small, and starts one generation."""
        self.loop = VirtualLoop()
        asyncio.set_event_loop(self.loop)
        self.house = House(self.loop, remote=remote, log_bytes=log_bytes)
        self.trims = log_bytes < 1 << 20
        self.stories: dict[str, Story] = {}
        self.all: list[Story] = []
        self.settled = True
        self.loop.call_soon(self.house.registry.sweep)
        self.open("a", detach=detach, deadline=None, switches=switches, slow=slow, again=False, settle=True)

    @machine.rule(
        name=st.sampled_from("abc"),
        detach=USUALLY,
        deadline=st.sampled_from([None, None, 7.0]),
        switches=SWITCHES,
        slow=st.booleans(),
        again=USUALLY,
        settle=USUALLY,
    )
    def open(
        self,
        name: str,
        detach: bool,
        deadline: float | None,
        switches: int,
        slow: bool,
        again: bool,
        settle: bool,
    ) -> None:
        """A caller starts a generation, or attaches to the generation with this id."""
        self.loop.run()
        request = GenerationRequest(
            generation_id=name,
            prompt="p",
            recovery=Recovery(detach=detach, max_engine_switch_count=switches),
            fingerprint=b"%d %d" % (detach, switches),
        )
        story = self.stories.get(name)
        if again and story is not None:
            request = story.request
        if self.house.registry.find(TENANT, name) is None:
            handed = self.house.handed[name] = Handed()
            story = self.stories[name] = Story(request, handed, self.loop.now, deadline=deadline)
            self.all.append(story)
        reading = self.house.call(partial(self._open, request, deadline), slow=slow)
        story.first = story.first or reading
        story.readings.append(reading)
        self._settle(settle)

    def _open(self, request: GenerationRequest, deadline: float | None):
        registry, admission = self.house.registry, self.house.admission
        task = registry.find(TENANT, request.generation_id)
        full = admission.active == 2
        try:
            return registry.open(request, CALLER, deadline)
        except Overloaded:
            assert task is None
            assert full
            raise
        except GenerationIdReused:
            assert task.request.fingerprint != request.fingerprint
            raise
        except (ReaderLimit, ReplayExpired) as error:
            self._check_refused(task, 0, error)
            raise

    @machine.rule(
        name=NAMES,
        back=st.integers(-1, 6),
        proof=st.sampled_from(["none", "right", "right", "checksum", "log"]),
        slow=st.booleans(),
        settle=USUALLY,
    )
    def resume(self, name: str, back: int, proof: str, slow: bool, settle: bool) -> None:
        """A caller resumes near the end, or beyond it. Its proof may be missing, right, or wrong."""
        story = self.stories.get(name)
        if story is None:
            return
        reading = self.house.call(partial(self._resume, name, back, proof), slow=slow)
        story.readings.append(reading)
        self._settle(settle)

    def _resume(self, name: str, back: int, proof: str):
        registry = self.house.registry
        task = registry.find(TENANT, name)
        after = max(0, task.subscribers.buffer.last_sequence - back) if task else 0
        cursor = Cursor(after)
        if task and proof != "none":
            buffer = task.subscribers.buffer
            own = checksum_of(buffer.truth[:after]) ^ (proof == "checksum")
            cursor = Cursor(after, "another" if proof == "log" else buffer.incarnation, own)
        try:
            opened = registry.resume(TENANT, name, cursor, None)
        except GenerationNotFound:
            assert task is None or proof == "log"
            raise
        except LogDiverged:
            assert proof == "checksum"
            raise
        except SequenceOutOfRange:
            assert after > task.subscribers.buffer.last_sequence
            raise
        except (ReaderLimit, ReplayExpired) as error:
            self._check_refused(task, after, error)
            raise
        assert proof in {"none", "right"}
        return opened

    def _check_refused(self, task: GenerationTask, after: int, error: TokenGrpcError) -> None:
        if isinstance(error, ReaderLimit):
            assert len(task.subscribers) == LIMITS.max_readers
        else:
            assert self.trims
            assert task.subscribers.buffer.first_sequence > after + 1

    @machine.rule(name=NAMES, settle=USUALLY)
    def accept(self, name: str, settle: bool) -> None:
        """The engine accepts the request, or sends an empty batch."""
        self._feed(name, (), settle)

    @machine.rule(name=NAMES, pieces=PIECES, settle=USUALLY)
    def token(self, name: str, pieces: list[str], settle: bool) -> None:
        """The engine sends tokens."""
        self._feed(name, [Delta(text=piece, count=1, id=7) for piece in pieces], settle)

    @machine.rule(
        name=st.sampled_from("abbb"),
        new=st.booleans(),
        arguments=st.sampled_from(["{", "1", "}"]),
        settle=USUALLY,
    )
    def fragment(self, name: str, new: bool, arguments: str, settle: bool) -> None:
        """The engine sends a fragment of a tool call."""
        story = self.stories.get(name)
        if story is None or story.over:
            return
        begins = new or not story.calls
        story.calls += begins
        piece = ToolCallFragment(
            call_index=story.calls - 1,
            id=f"c{story.calls}" if begins else "",
            function_name="f" if begins else "",
            arguments=arguments,
        )
        self._feed(name, [Delta(fragments=(piece,), count=1)], settle)

    @machine.rule(name=NAMES, more=st.integers(0, 3), settle=USUALLY)
    def usage(self, name: str, more: int, settle: bool) -> None:
        """The engine reports its own usage."""
        self._feed(name, UsageGrowth(more), settle)

    @machine.rule(name=NAMES, piece=st.sampled_from(["", "z"]), settle=USUALLY)
    def finish(self, name: str, piece: str, settle: bool) -> None:
        """The engine finishes regularly."""
        finish = EngineFinish(reason=FinishReason.END, word="stop")
        story = self._feed(name, [Delta(text=piece, count=len(piece), id=7, finish=finish)], settle)
        if story:
            story.over = True

    @machine.rule(name=NAMES, how=ENDINGS, settle=USUALLY)
    def die(self, name: str, how: Exception | None, settle: bool) -> None:
        """The engine fails: with an error, with a bug, or by returning without a finish."""
        story = self._feed(name, how, settle)
        if story:
            story.deaths += 1

    @machine.rule(name=NAMES, before=PIECES, after=PIECES, settle=USUALLY)
    def lose(self, name: str, before: list[str], after: list[str], settle: bool) -> None:
        """The engine is lost between two tokens. If allowed, another one may continue."""
        self.token(name, before, settle=settle)
        self.die(name, EngineLost("gone"), settle=settle)
        self.token(name, after, settle=settle)

    @machine.rule(pick=PICKS, settle=USUALLY)
    def leave(self, pick: int, settle: bool) -> None:
        """A caller disconnects."""
        here = [r for r in self.house.readings if not r.call.done()]
        if here:
            here[pick % len(here)].call.cancel()
            self._settle(settle)

    @machine.rule(pick=PICKS, count=st.integers(1, 5), settle=USUALLY)
    def take(self, pick: int, count: int, settle: bool) -> None:
        """A slow reader accepts some messages."""
        slow = [r for r in self.house.readings if not r.call.done() and r.allowed is not None]
        if slow:
            slow[pick % len(slow)].allow(count)
            self._settle(settle)

    @machine.rule(name=NAMES, settle=USUALLY)
    def cancel(self, name: str, settle: bool) -> None:
        """A caller cancels the generation for all readers."""
        if name in self.stories:
            self.stories[name].cancelled = True
        self.cancelling = self.loop.create_task(self._cancel(name))
        self._settle(settle)

    async def _cancel(self, name: str) -> None:
        known = self.house.registry.find(TENANT, name)
        try:
            task = await self.house.registry.cancel(TENANT, name)
        except GenerationNotFound:
            assert known is None
        else:
            assert task is known
            assert task.complete

    @machine.rule(count=st.integers(1, 4))
    def turn(self, count: int) -> None:
        """The tasks run for some loop iterations, and may not come to rest."""
        self.loop.run_until_complete(turns(count))
        self.settled = False

    @machine.rule(seconds=st.sampled_from([0.1, 0.1, 1.0, 1.0, 4.5, 4.5, 6.0, 9.0, 16.0]))
    def wait(self, seconds: float) -> None:
        """Time passes: heartbeats, stalls, slow readers, detached generations and replay times."""
        self.loop.advance(seconds)
        self.settled = True

    def _feed(self, name: str, batch, settle: bool) -> Story | None:
        story = self.stories.get(name)
        if story is None or story.over:
            return None
        story.handed.queue.put_nowait(batch)
        self._settle(settle)
        return story

    def _settle(self, settle: bool) -> None:
        if settle:
            self.loop.run()
        self.settled = settle

    # --- Invariants

    @machine.invariant()
    def the_books_are_right(self) -> None:
        """Permits are those of the running generations, and no engine runs for any other."""
        under_way = [s for s in self.all if s.task is not None and not s.task.complete]
        assert self.house.admission.active == len(under_way)
        working = self.house.working
        assert len(set(working)) == len(working), "one engine at a time"
        assert set(working) <= {s.request.generation_id for s in under_way}
        for story in under_way:
            assert (
                story.task.request.record_id not in self.house.ledger.closed
                or story.task.generation.termination
            )

    @machine.invariant()
    def engines_are_called_rightly(self) -> None:
        """No engine runs twice, or was asked to continue anything but the output so far."""
        for story in self.all:
            if story.handed.wrong is not None:
                raise story.handed.wrong

    @machine.invariant()
    def every_log_is_gapless(self) -> None:
        """Sequences, indexes, times and usage have no gap. `finished` is the last event and occurs once."""
        for story in self.all:
            if story.task is not None:
                truth = story.task.subscribers.buffer.truth
                assert [message.sequence for message in truth] == list(range(1, len(truth) + 1))
                assert not any(message.HasField("finished") for message in truth[:-1])
                check_gapless(truth)

    @machine.invariant()
    def nobody_waits_in_vain(self) -> None:
        """At rest, readers have all available messages, and no generation exceeds its clocks."""
        if not self.settled:
            return
        for reading in self.house.readings:
            if reading.task is not None and not reading.call.done() and reading.allowed != 0:
                assert reading.cursor == reading.task.subscribers.buffer.last_sequence
        for story in self.all:
            if story.task is not None and not story.task.complete:
                self._check_clocks(story, story.task)

    def _check_clocks(self, story: Story, task: GenerationTask) -> None:
        now, grown_at, handed = self.loop.now, task.subscribers.buffer.grown_at, story.handed
        if handed.sent_at is not None:
            # A sink acknowledges output later than the engine sent it.
            assert now - max(handed.sent_at, grown_at or 0.0) < LIMITS.inter_token_timeout
        else:
            assert now - max(handed.asked_at, story.opened_at) < LIMITS.first_token_timeout
        if not task.subscribers:
            assert story.request.recovery.detach
            assert now - max(r.left_at for r in story.readings if r.task is task) < LIMITS.detach_ttl

    def teardown(self) -> None:
        """After a while without callers, nothing is left. Every generation ended as its story requires."""
        if not hasattr(self, "house"):
            return
        try:
            self.loop.run()
            self.loop.advance(LIMITS.max_time_limit + LIMITS.write_stall_timeout * 2 + LIMITS.replay_ttl * 2)
            self._check_nothing_is_left()
            for reading in self.house.readings:
                check_outcome(reading, trims=self.trims)
            for story in self.all:
                if story.task is not None:
                    check_story(story, story.task, self.house.ledger)
                    check_reason(story, story.task)
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.run()
            self.loop.close()
            asyncio.set_event_loop(None)

    def _check_nothing_is_left(self) -> None:
        registry, house = self.house.registry, self.house
        assert not asyncio.all_tasks(self.loop)
        assert not list(registry)
        assert not house.working
        assert all(not pooled.running for pooled in house.model.pool.engines)
        assert house.admission.active == 0
        assert house.buffers.used_bytes == 0
        assert house.ledger.opened.keys() == house.ledger.closed.keys()
        registry.close()
        assert not self.loop.timers


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(examples(2000, nightly=50_000), stateful_step_count=30)
