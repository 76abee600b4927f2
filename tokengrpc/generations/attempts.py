"""The attempts of one generation: calls engines one after another, as the failover plan decides."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from tokengrpc.core.affinity import session_key
from tokengrpc.core.breaker import AttemptOutcome, classify_outcome
from tokengrpc.core.failover import FailoverPlan
from tokengrpc.core.place import Place
from tokengrpc.core.ports.engine import ReportsLateUsage
from tokengrpc.core.termination import Termination
from tokengrpc.errors import (
    Cancelled,
    EngineAuthFailed,
    EngineBusy,
    EngineTruncated,
    EngineUnavailable,
    TokenGrpcError,
    without_traceback,
)
from tokengrpc.generations.attempt_reports import AttemptReports, RunningAttempt
from tokengrpc.generations.input_count import InputCount

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from tokengrpc.core.admission import Permit
    from tokengrpc.core.ending import EndDecision
    from tokengrpc.core.events import Event
    from tokengrpc.core.generation import Generation
    from tokengrpc.core.model import Delta
    from tokengrpc.core.pooled_engine import Slot, SlotRequest
    from tokengrpc.core.ports.budget import Grant
    from tokengrpc.core.routing import EnginePool
    from tokengrpc.errors import EngineStalled
    from tokengrpc.generations.services import Services
    from tokengrpc.generations.spec import GenerationSpec
    from tokengrpc.generations.timers import Timers
    from tokengrpc.generations.writer import EventWriter

_DEFAULT_BACKOFF = 1.0


class AttemptRunner:
    """Attempts of a generation. A switch is announced before the first output of the new engine."""

    def __init__(
        self,
        spec: GenerationSpec,
        generation: Generation,
        *,
        services: Services,
        writer: EventWriter,
        timers: Timers,
        decision: EndDecision,
        grant: Grant,
        on_accept: Callable[[], Awaitable[None]],
        permit: Permit,
    ) -> None:
        """Calls `on_accept` whenever an engine has accepted the request. Notes its progress in the permit."""
        self._spec = spec
        self._generation = generation
        self._services = services
        self._writer = writer
        self._timers = timers
        self._decision = decision
        self._grant = grant
        self._on_accept = on_accept
        self._permit = permit
        self._pool: EnginePool = spec.model.pool
        taken = spec.taken
        self._records = services.encoder.recorder(b"" if taken is None else taken.logged.tail).records
        self._count = InputCount(generation, spec.model)
        self._plan = FailoverPlan(
            generation,
            spec.engines,
            services.limits.max_engine_attempts,
            session_key(spec.key.tenant, spec.request.session_id),
            Place(
                tenant=spec.key.tenant,
                weight=spec.identity.tenant.weight,
                priority=spec.request.priority,
            ),
        )
        self._reports = AttemptReports(spec, generation, services)
        self._current: RunningAttempt | None = None
        self._cancelled_at: float | None = None
        self._waiting: SlotRequest | None = None

    @property
    def queue_position(self) -> int:
        """Position in the wait queue; 0 if the generation does not wait."""
        waiting = self._waiting
        return 0 if waiting is None else self._pool.queue_position(waiting, self._services.seconds())

    async def run(self) -> Termination:
        """Runs attempts until one succeeds. Returns the end. Raises the error of the generation."""
        await self._count.begin()
        whole = self._go_on()
        if whole is not None:
            return whole
        while True:
            self._current = attempt = await self._begin_attempt()
            try:
                termination = await self._attempt(attempt)
            except TokenGrpcError as error:
                without_traceback(error)  # the plan may keep it, and its frames refer to the plan
                self._release(attempt, self._outcome(error), error)
                try:
                    complete = self._next(attempt, error)
                finally:  # now its output is known to be kept, or not to count
                    self._generation.attempt_failed(error, self._services.clock.now_ns())
                if complete is not None:
                    return complete
            except BaseException:
                self._release(attempt, AttemptOutcome.NEUTRAL)
                raise
            else:
                self._release(attempt, AttemptOutcome.SUCCESS)
                return termination

    def forgo_usage(self) -> None:
        """Tells the running engine, which has stalled, not to wait for late usage."""
        if self._current is not None:
            engine = self._current.pooled.engine
            if isinstance(engine, ReportsLateUsage):
                engine.forgo_late_usage(self._spec.request.record_id)

    def stopping(self, termination: Termination) -> None:
        """Notes when a caller cancelled the generation, or the last reader left: the engine must stop now."""
        if isinstance(termination.error, Cancelled):
            self._cancelled_at = self._services.seconds()

    def _go_on(self) -> Termination | None:
        """Prepares to continue what another server began. Returns the end if the output is complete."""
        taken = self._spec.taken
        if taken is None:
            return None
        try:
            return self._plan.server_lost(taken.logged, taken.loss) if taken.logged.has_output else None
        finally:
            self._generation.attempt_failed(taken.loss, self._services.clock.now_ns())

    async def _begin_attempt(self) -> RunningAttempt:
        """Gets a slot on an engine; waits in the pool's queue while all engines are at capacity."""
        now = self._services.seconds
        wanted_at = now()
        slot_request = self._plan.candidate.slot_request
        slot = self._pool.acquire(slot_request, wanted_at)
        if slot is not None:
            self._permit.called()
            return RunningAttempt(slot, waited=0.0, began=wanted_at)
        slot = await self._wait(slot_request)
        self._permit.called()
        return RunningAttempt(slot, waited=now() - wanted_at, began=now())

    async def _wait(self, slot_request: SlotRequest) -> Slot:
        """Waits in the pool's queue. Raises Overloaded if the queue is full or the wait takes too long."""
        loop, now, pool = asyncio.get_running_loop(), self._services.seconds, self._pool
        granted: asyncio.Future[Slot] = loop.create_future()

        def grant(slot: Slot) -> None:
            if granted.done():
                pool.release(slot, AttemptOutcome.NEUTRAL, now())
            else:
                granted.set_result(slot)

        def reject(cause: str, why: str) -> None:
            if not granted.done():
                pool.leave(slot_request)
                granted.set_exception(self._rejection(cause, why))

        full = ("queue_length", "more requests wait for an engine than may")
        if not pool.wait(slot_request, grant, partial(reject, *full)):
            raise self._rejection(*full)
        self._waiting = slot_request
        self._permit.queued()
        _schedule_wakeup(pool, now)
        longest = self._spec.model.max_queue_time or self._services.limits.max_queue_time
        late = f"no engine was free for {longest:g} s"
        timer = loop.call_later(longest, reject, "queue_time", late) if longest else None
        try:
            return await granted
        except asyncio.CancelledError:
            pool.leave(slot_request)
            if not granted.cancelled() and granted.exception() is None:
                pool.release(granted.result(), AttemptOutcome.NEUTRAL, now())
                _schedule_wakeup(pool, now)
            stall = self._take_stall()
            if stall is None:
                raise
            raise self._plan.loss or self._all_busy(stall) from None
        finally:
            self._waiting = None
            if timer is not None:
                timer.cancel()

    def _rejection(self, cause: str, why: str) -> TokenGrpcError:
        """Returns the error of a request that the wait queue rejects."""
        why = f"{why} for model {self._spec.model.name}"
        return self._plan.loss or self._permit.rejection(
            cause, why, self._pool.retry_delay(self._services.seconds())
        )

    async def _attempt(self, attempt: RunningAttempt) -> Termination:
        engine = attempt.pooled.engine
        trace = self._reports.started(attempt)
        self._generation.attempts.begin(engine.name, self._services.clock.now_ns())
        request = self._plan.begin(attempt.pooled)
        if trace.traceparent and attempt.pooled.gets_trace:
            request = replace(request, trace=trace.bare())
        try:
            return await self._read(attempt, engine.generate(request, self._plan.candidate.continuation))
        except asyncio.CancelledError:
            stall = self._take_stall()
            if stall is None:
                raise
            finished = self._decision.finished(readable=self._readable)
            if finished is not None:
                return finished
            raise stall from None

    async def _read(
        self, attempt: RunningAttempt, batches: AsyncGenerator[Sequence[Delta], None]
    ) -> Termination:
        generation, timers, writer = self._generation, self._timers, self._writer
        continuation_state, spend = self._plan.continuation_state, self._grant.spend
        now_ns, records, write = self._services.clock.now_ns, self._records, writer.write
        note_output, count_output = attempt.pooled.note_output, self._permit.output
        accepted = producing = False
        async with aclosing(batches):
            async for batch in batches:
                now = now_ns()
                if producing:
                    events = generation.feed(batch, now)
                    if events:
                        note_output(now, timers.progress_ns)
                        count_output(len(events))
                else:
                    events = [] if accepted else await self._accept(attempt)
                    accepted = True
                    events += self._announce(attempt, batch)
                    output = generation.feed(batch, now_ns())
                    events += output
                    if output:
                        producing = True
                        self._output_started(attempt)
                if continuation_state is not None:
                    continuation_state.take(batch, events)
                if events:
                    timers.progress_ns = now
                    write(records(events))
                    if writer.full:
                        with timers.paused():
                            await writer.wait_for_room()
                if generation.engine_finish is not None:
                    return Termination.of(generation.engine_finish)
                if events and not spend(generation.usage):
                    raise self._grant.refusal()
        raise EngineTruncated(
            "the engine's output stopped without its end mark: the output may be incomplete, try again"
        )

    async def _accept(self, attempt: RunningAttempt) -> list[Event]:
        attempt.accepted = self._services.seconds() - attempt.began
        await self._count.end()
        with self._timers.paused():
            await self._on_accept()
        return self._generation.accept(attempt.pooled.engine.name, self._services.clock.now_ns())

    def _announce(self, attempt: RunningAttempt, batch: Sequence[Delta]) -> list[Event]:
        """Returns the event that precedes the first output of an engine that continues another's output."""
        switch, continuation_state = (
            self._plan.candidate.switch(attempt.pooled),
            self._plan.continuation_state,
        )
        if switch is None or continuation_state is None or attempt.announced:
            return []
        if not any(map(_has_output, batch)):
            return []
        attempt.announced = True
        continuation_state.continued(switch.method)
        self._plan.switched(switch)
        self._reports.switched(switch)
        return self._generation.switch(switch, self._services.clock.now_ns())

    def _output_started(self, attempt: RunningAttempt) -> None:
        attempt.announced = True
        now = self._services.seconds()
        attempt.first_token = now - attempt.began
        attempt.pooled.progress_ns = self._services.clock.now_ns()
        self._pool.output_started(attempt.slot, now)
        self._timers.first_token()
        self._permit.output_started()
        if self._plan.loss is None:
            self._reports.first_token(attempt, now)

    def _take_stall(self) -> EngineStalled | None:
        """Returns the stall that interrupted the attempt; None if the whole generation was stopped."""
        stall = self._decision.take_stall()
        if stall is not None:
            uncancel()
        return stall

    def _next(self, attempt: RunningAttempt, error: TokenGrpcError) -> Termination | None:
        """Prepares the next attempt, or returns the end of an output that is complete as it is.

        Raises the error that the generation fails with if no engine can continue.
        """
        if not attempt.announced:
            self._plan.failed(attempt.pooled, error, self._services.seconds())
            return None
        if not self._readable:
            raise error  # there is a numbered event that no reader can get
        complete = self._plan.lost(attempt.pooled, error)
        if complete is None:
            self._timers.next_engine()
        return complete

    def _outcome(self, error: TokenGrpcError) -> AttemptOutcome:
        own = f"{error.metadata.get('clock')}_timeout"
        if self._spec.request.engine_key and isinstance(error, EngineAuthFailed | EngineBusy):
            return AttemptOutcome.NEUTRAL  # the engine refuses the caller's own key, and no other one
        # A timeout that the caller chose is not evidence that the engine is unhealthy.
        chosen = getattr(self._spec.request.limits, own, None)
        return AttemptOutcome.NEUTRAL if chosen else classify_outcome(error)

    def _release(
        self, attempt: RunningAttempt, outcome: AttemptOutcome, error: TokenGrpcError | None = None
    ) -> None:
        self._current = None
        wait = _DEFAULT_BACKOFF if error is None or error.retry_after is None else error.retry_after
        now = self._services.seconds
        since = self._cancelled_at if error is None and outcome is AttemptOutcome.NEUTRAL else None
        cancel_seconds = None if since is None else now() - since
        self._pool.release(attempt.slot, outcome, now(), wait=wait, error=error)
        _schedule_wakeup(self._pool, now)
        self._reports.ended(attempt, outcome, error, cancel_seconds)

    @property
    def _readable(self) -> bool:
        """Whether every numbered event has been written."""
        return self._generation.last_sequence == self._writer.last_sequence

    def _all_busy(self, stall: EngineStalled) -> EngineUnavailable:
        return EngineUnavailable(
            f"all engines of model {self._spec.model.name} were busy for"
            f" {stall.metadata['limit_seconds']} s: try again later or allow more time",
            metadata=stall.metadata,
        )


def uncancel() -> None:
    """Withdraws the cancellation that was just caught, so that the current task can continue."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()


def _schedule_wakeup(pool: EnginePool, now: Callable[[], float]) -> None:
    """Schedules a call that serves queued requests when an engine's backoff expires."""
    wait = pool.next_wakeup(now())
    if wait is not None:
        asyncio.get_running_loop().call_later(wait, _wake, pool, now)


def _wake(pool: EnginePool, now: Callable[[], float]) -> None:
    pool.wake(now())
    _schedule_wakeup(pool, now)


def _has_output(delta: Delta) -> bool:
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
