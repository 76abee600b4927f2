"""The task of one generation: produces its events, runs its timers, and ends it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from msgspec import structs

from tokengrpc.core.ending import EndDecision
from tokengrpc.core.generation import Generation
from tokengrpc.core.input_tokens import estimate_input
from tokengrpc.core.ports.ledger import UsageRecord
from tokengrpc.core.ports.observer import GenerationEnded, GenerationStarted
from tokengrpc.core.request import without_input
from tokengrpc.core.termination import Termination
from tokengrpc.errors import Cancelled, DetachExpired, GenerationIdReused, Internal, TokenGrpcError
from tokengrpc.generations.attempts import AttemptRunner, uncancel
from tokengrpc.generations.subscribers import Subscribers
from tokengrpc.generations.timers import Timers
from tokengrpc.generations.writer import BufferWriter, SinkWriter

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.core.admission import Permit
    from tokengrpc.core.ports.budget import Grant
    from tokengrpc.core.snapshot import GenerationSnapshot
    from tokengrpc.errors import EngineStalled
    from tokengrpc.generations.services import Services
    from tokengrpc.generations.spec import GenerationSpec
    from tokengrpc.generations.writer import EventWriter

log = structlog.get_logger(__name__)


class GenerationTask:
    """Generation from its admission until it is forgotten."""

    def __init__(
        self,
        spec: GenerationSpec,
        services: Services,
        permit: Permit,
        on_end: Callable[[GenerationTask], None],
    ) -> None:
        """Starts the task; `on_end` is called once the end has been recorded and published."""
        self.key = spec.key
        self.request = spec.request
        self.model = spec.model
        self.generation = generation = Generation(spec.request, spec.model.tokenizer, services.clock.now_ns())
        self.subscribers = Subscribers(
            services.buffers.create(),
            services.encoder,
            state=lambda: generation.state,
            on_join=self._joined,
            on_empty=self._left,
        )
        self._services = services
        self._permit = permit
        self._on_end = on_end
        self._ended = asyncio.Event()
        self._decision = EndDecision(self.generation)
        self._writer: EventWriter = BufferWriter(self.subscribers.buffer)
        self._grant: Grant | None = None
        self._attempts: AttemptRunner | None = None
        self._engines: tuple[str, ...] = ()
        self._producing = self._billed = False
        self._relayed = 0
        self._timers = Timers(
            spec.request,
            spec.model.clocks,
            services.limits,
            clock=services.clock,
            deadline_left=spec.deadline_left,
            stop=self.stop,
            silent=self._engine_silent,
        )
        self.subscribers.ends_at = self._timers.ends_at
        self._task = asyncio.get_running_loop().create_task(self._produce(spec))

    @property
    def complete(self) -> bool:
        """Whether the end has been recorded and published."""
        return self.subscribers.complete

    @property
    def started(self) -> bool:
        """Whether an engine has accepted the request."""
        return bool(self.generation.timestamps.started)

    def snapshot(self) -> GenerationSnapshot:
        """Returns the current state."""
        buffer = self.subscribers.buffer
        first, last = buffer.first_sequence, buffer.last_sequence
        return structs.replace(
            self.generation.snapshot(),
            last_sequence=last,
            labels=self.request.labels,
            first_kept_sequence=first if first <= last else 0,
            subscription_count=len(self.subscribers),
            complete=self.complete,
        )

    def take_relayed(self) -> int:
        """Returns the number of output tokens since the last call."""
        count = self.generation.token_count
        relayed, self._relayed = count - self._relayed, count
        return relayed

    def stop(self, termination: Termination) -> None:
        """Ends the generation now, whatever its engine is doing. No effect if it is ending already."""
        # A task that is cancelled before its first step never runs, but this one must.
        if self._decision.stop(termination) and self._producing:
            self._task.cancel()

    async def wait_ended(self) -> None:
        """Returns when the end has been recorded and published."""
        await self._ended.wait()

    async def wait_quiet(self) -> None:
        """Returns when the generation has ended and has no subscriber left."""
        await self._ended.wait()
        await self.subscribers.wait_empty()

    def close(self) -> None:
        """Drops all events."""
        self.subscribers.buffer.close()

    def _engine_silent(self, stall: EngineStalled) -> None:
        """Ends the running attempt, and with it the generation unless another engine continues."""
        if self._attempts is not None and self._decision.stall(stall):
            self._attempts.forgo_usage()
            self._task.cancel()

    def _joined(self) -> None:
        self._timers.cancel_detach()
        if self.complete:
            self.subscribers.buffer.forbid_eviction()

    def _left(self) -> None:
        if self.complete:
            self.subscribers.buffer.allow_eviction()
        elif self.request.recovery.detach:
            expired = DetachExpired("no reader came back in time")
            self._timers.start_detach(Termination.failed(expired))
        else:
            self.stop(Termination.failed(Cancelled("the last reader has left")))

    async def _produce(self, spec: GenerationSpec) -> None:
        self._producing = True
        try:
            termination = await self._generate(spec)
        except asyncio.CancelledError:
            uncancel()
            termination = self._decision.interrupted(readable=self._readable)
        except Exception as error:
            if not isinstance(error, TokenGrpcError):
                log.exception("unexpected error in a generation", generation_id=self.key.generation_id)
            termination = self._decision.failed(error)
        await self._finish(termination)

    async def _generate(self, spec: GenerationSpec) -> Termination:
        if self._decision.stopped:
            return self._decision.interrupted(readable=False)
        with self._timers.paused():
            grant = await self._prepare(spec)
        self._attempts = AttemptRunner(
            spec,
            self.generation,
            services=self._services,
            writer=self._writer,
            timers=self._timers,
            decision=self._decision,
            grant=grant,
            on_accept=self._accepted,
        )
        return await self._attempts.run()

    async def _prepare(self, spec: GenerationSpec) -> Grant:
        """Reserves the budget, and claims the log if there is a sink."""
        services = self._services
        estimate = estimate_input(spec.request) + (spec.request.max_output_token_count or 0)
        self._grant = grant = await services.budget_patience.once(
            lambda: services.budget.reserve(spec.identity, spec.model.name, estimate)
        )
        sink = services.sink
        if sink is not None:
            patience = services.sink_patience
            claim = await patience.retry(lambda: sink.claim(spec.key, spec.request.fingerprint, b""))
            if not claim.owned:
                raise GenerationIdReused(
                    f"generation id {spec.key.generation_id} is in use on another server: take a new id",
                    metadata={"generation_id": spec.key.generation_id},
                )
            self._writer = SinkWriter(
                self.subscribers.buffer,
                sink,
                spec.key,
                claim.epoch,
                patience=patience,
                max_pending_bytes=services.limits.max_unacknowledged_bytes,
                on_stop=self.stop,
            )
        return grant

    async def _accepted(self) -> None:
        """Notes that an engine has accepted the request. The first time, begins the usage record."""
        if self._billed or self._attempts is None:
            return
        self._billed = True
        await self._services.billing.begin(self._record())
        now = self._services.seconds()
        self._services.observers.emit(
            GenerationStarted(
                key=self.key,
                model=self.model.name,
                engine=self._attempts.engines[-1],
                queue_seconds=now - self.generation.timestamps.created / 1e9,
            )
        )

    @property
    def _readable(self) -> bool:
        return self.generation.last_sequence == self._writer.last_sequence

    async def _finish(self, termination: Termination) -> None:
        self._timers.close()
        generation = self.generation
        try:
            await self._publish(self._decision.close(termination))
        except Exception:
            # Readers must neither wait forever nor mistake this for success.
            log.exception("the end of a generation cannot be published", generation_id=self.key.generation_id)
            failed = Termination.failed(Internal("the server failed at the end of the generation: try again"))
            generation.termination, generation.state = failed, failed.state
        record = self._record()
        # From here on the generation is kept for replays only, which need the id and usage but not the input.
        self._engines = record.engines
        self._attempts = self._grant = None
        self.request = generation.request = without_input(self.request)
        self._writer = BufferWriter(self.subscribers.buffer)
        if not len(self.subscribers):
            self.subscribers.buffer.allow_eviction()
        self._permit.release()
        self.subscribers.complete = True
        self.subscribers.wake()
        self._on_end(self)
        self._ended.set()
        self._services.observers.emit(GenerationEnded(record=record, timestamps=generation.timestamps))

    async def _publish(self, termination: Termination) -> None:
        generation, writer, services = self.generation, self._writer, self._services
        failure = await writer.flush()
        if failure is not None:
            writer.abandon()
            termination = Termination.failed(failure)
        generation.resync(writer.last_sequence)
        events = generation.end(termination, services.clock.now_ns())
        if self._grant is not None:
            grant, usage = self._grant, generation.usage
            await services.budget_patience.quietly(lambda: grant.settle(usage))
        if self._billed:
            # The record is stored before any caller can see the end.
            record = self._record()
            await services.billing.finish(record)
            if record.input_is_cut:
                log.warning(
                    "the engine reported far less input than was counted: it may have cut the input",
                    model=record.model,
                    engine=generation.engine,
                    reported=generation.usage.input,
                )
        if events:
            writer.write(services.encoder.records(events))
            if await writer.flush() is not None:
                writer.abandon()
                writer.write(services.encoder.records(events))

    def _record(self) -> UsageRecord:
        generation = self.generation
        termination = generation.termination
        return UsageRecord(
            record_id=self.request.record_id,
            generation_id=self.key.generation_id,
            tenant=self.key.tenant,
            model=self.model.name,
            labels=dict(self.request.labels),
            create_time_ns=generation.timestamps.created,
            usage=generation.usage,
            end_time_ns=generation.timestamps.ended or None,
            finish_reason=termination.reason if termination else None,
            error_reason=termination.error.reason if termination and termination.error else "",
            input_is_cut=generation.input_is_cut and not self.request.has_image,
            engines=tuple(self._attempts.engines) if self._attempts is not None else self._engines,
        )
