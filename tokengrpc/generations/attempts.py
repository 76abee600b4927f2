"""The attempts of one generation: one engine after another, as its plan says, until one of them has ended it.

Readers are told of an engine that goes on from another's output before its first token, and of no other.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from tokengrpc.core.breaker import AttemptOutcome, classify_outcome
from tokengrpc.core.failover import FailoverPlan
from tokengrpc.core.termination import Termination
from tokengrpc.errors import EngineStalled, EngineTruncated, EngineUnavailable, TokenGrpcError
from tokengrpc.generations.input_count import InputCount

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from tokengrpc.core.catalog import ServedModel
    from tokengrpc.core.events import Event
    from tokengrpc.core.generation import Generation
    from tokengrpc.core.model import Delta
    from tokengrpc.core.ports.log import EventLog
    from tokengrpc.core.routing import EnginePool, PooledEngine, Slot
    from tokengrpc.generations.services import Services
    from tokengrpc.generations.timers import Timers

_USUAL_WAIT = 1.0


class AttemptRunner:
    """Runs a generation on the members of its model that are able to."""

    def __init__(
        self,
        generation: Generation,
        model: ServedModel,
        capable: Sequence[PooledEngine],
        *,
        services: Services,
        log: EventLog,
        timers: Timers,
        engines: list[str],
        on_accept: Callable[[], Awaitable[None]],
    ) -> None:
        """`engines` gets the names of those that are asked; `on_accept` is called when one has accepted."""
        # Set by whoever cancels the task because the engine, and not the generation, ran out of time.
        self.stall: EngineStalled | None = None
        self._generation = generation
        self._limits = generation.request.limits
        self._model = model
        self._services = services
        self._log = log
        self._timers = timers
        self._on_accept = on_accept
        self._engines = engines
        self._count = InputCount(generation, model)
        self._plan = FailoverPlan(generation, capable, services.limits.max_engine_attempts)
        # Whether readers have something of the attempt.
        self._announced = False

    async def run(self) -> Termination:
        """Returns the end that an engine told. Raises what the generation fails with."""
        await self._count.begin()
        while True:
            slot = await self._place()
            try:
                termination = await self._attempt(slot)
            except TokenGrpcError as error:
                self._release(slot, self._outcome(error), error)
                over = self._next(slot.pooled, error)
                if over is not None:
                    return over
            except BaseException:
                self._release(slot, AttemptOutcome.NEUTRAL)
                raise
            else:
                self._release(slot, AttemptOutcome.SUCCESS)
                return termination

    # --- One attempt.

    async def _place(self) -> Slot:
        """A place on an engine; waits in line while all are full."""
        pool, slot_request, now = self._model.pool, self._plan.candidate.slot_request, self._services.seconds
        slot = pool.acquire(slot_request, now())
        if slot is not None:
            return slot
        waiting: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()

        def granted(slot: Slot) -> None:
            if waiting.done():
                pool.release(slot, AttemptOutcome.NEUTRAL, now())
            else:
                waiting.set_result(slot)

        pool.wait(slot_request, granted)
        _watch(pool, now)
        try:
            return await waiting
        except asyncio.CancelledError:
            pool.leave(slot_request)
            if not waiting.cancelled():
                self._release(waiting.result(), AttemptOutcome.NEUTRAL)
            stall = self._take_stall()
            if stall is None:
                raise
            raise self._plan.loss or self._all_busy(stall) from None

    async def _attempt(self, slot: Slot) -> Termination:
        engine = slot.pooled.engine
        self._engines.append(engine.name)
        self._announced = False
        request = self._plan.begin(slot.pooled)
        try:
            return await self._read(slot, engine.generate(request, self._plan.candidate.continuation))
        except asyncio.CancelledError:
            stall = self._take_stall()
            if stall is None:
                raise
            finish = self._generation.engine_finish
            if finish is not None and self._all_logged:
                return Termination.of(finish)
            raise stall from None

    async def _read(self, slot: Slot, batches: AsyncGenerator[Sequence[Delta], None]) -> Termination:
        generation, timers, continuation_state = self._generation, self._timers, self._plan.continuation_state
        now_ns, records, append = (
            self._services.clock.now_ns,
            self._services.encoder.records,
            self._log.append,
        )
        accepted = speaking = False
        async with aclosing(batches):
            async for batch in batches:
                now = now_ns()
                if speaking:
                    events = generation.feed(batch, now)
                else:
                    events = [] if accepted else await self._accept(slot)
                    accepted = True
                    events += self._announce(slot, batch)
                    output = generation.feed(batch, now_ns())
                    events += output
                    if output:
                        speaking = True
                        self._announced = True
                        self._model.pool.output_started(slot, self._services.seconds())
                        timers.first_token()
                if continuation_state is not None:
                    continuation_state.take(batch, events)
                if events:
                    timers.progress_ns = now
                    await append(records(events))
                if generation.engine_finish is not None:
                    return Termination.of(generation.engine_finish)
        raise EngineTruncated("the engine's output stopped without its end mark: what came may be incomplete")

    async def _accept(self, slot: Slot) -> list[Event]:
        await self._count.end()
        await self._on_accept()
        return self._generation.accept(slot.pooled.engine.name, self._services.clock.now_ns())

    def _announce(self, slot: Slot, batch: Sequence[Delta]) -> list[Event]:
        """The event before the first output of an engine that goes on from another's."""
        switch, continuation_state = self._plan.candidate.switch(slot.pooled), self._plan.continuation_state
        if switch is None or continuation_state is None or self._announced or not any(map(_speaks, batch)):
            return []
        self._announced = True
        continuation_state.went_on(switch.method)
        return self._generation.switch(switch, self._services.clock.now_ns())

    def _take_stall(self) -> EngineStalled | None:
        """The stall that cancelled the task; None when somebody stopped the generation."""
        stall, self.stall = self.stall, None
        task = asyncio.current_task()
        if stall is not None and task is not None:
            task.uncancel()
        return stall

    def _next(self, pooled: PooledEngine, error: TokenGrpcError) -> Termination | None:
        """Gets ready for the next attempt, or answers the end of an output that is whole.

        Raises when nobody can go on.
        """
        if not self._announced:
            self._plan.failed(pooled, error, self._services.seconds())
            return None
        if not self._all_logged:
            raise error  # something is numbered that no reader can get
        over = self._plan.lost(pooled, error)
        if over is None:
            self._timers.next_engine()
        return over

    def _outcome(self, error: TokenGrpcError) -> AttemptOutcome:
        own = f"{error.metadata.get('clock')}_timeout"
        # A caller that has no patience of its own accord says nothing about the engine.
        return AttemptOutcome.NEUTRAL if getattr(self._limits, own, None) else classify_outcome(error)

    def _release(self, slot: Slot, outcome: AttemptOutcome, error: TokenGrpcError | None = None) -> None:
        wait = _USUAL_WAIT if error is None or error.retry_after is None else error.retry_after
        pool, now = self._model.pool, self._services.seconds
        pool.release(slot, outcome, now(), wait=wait)
        _watch(pool, now)

    @property
    def _all_logged(self) -> bool:
        return self._generation.last_sequence == self._log.last_sequence

    def _all_busy(self, stall: EngineStalled) -> EngineUnavailable:
        return EngineUnavailable(
            f"all engines of model {self._model.name} were busy for {stall.metadata['limit_seconds']} s:"
            " try again later or allow more",
            metadata=stall.metadata,
        )


def _watch(pool: EnginePool, now: Callable[[], float]) -> None:
    """Has the line served when an engine that is left alone may be asked again, which nobody tells."""
    wait = pool.next_wakeup(now())
    if wait is not None:
        asyncio.get_running_loop().call_later(wait, _wake, pool, now)


def _wake(pool: EnginePool, now: Callable[[], float]) -> None:
    pool.wake(now())
    _watch(pool, now)


def _speaks(delta: Delta) -> bool:
    return bool(
        delta.text
        or delta.raw
        or delta.reasoning
        or delta.opaque
        or delta.refusal
        or delta.fragments
        or delta.count
        or delta.finish
    )
