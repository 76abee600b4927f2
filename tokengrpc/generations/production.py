"""The production of one generation: runs its engines and timers, and records and publishes its end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from tokengrpc.core.ending import EndDecision
from tokengrpc.core.ports.observer import GenerationStarted
from tokengrpc.core.termination import Termination
from tokengrpc.errors import (
    DetachExpired,
    Draining,
    Internal,
    StoreUnavailable,
    StreamDrained,
    StreamInterrupted,
    TokenGrpcError,
    without_traceback,
)
from tokengrpc.generations.attempts import AttemptRunner, uncancel
from tokengrpc.generations.bill import Bill
from tokengrpc.generations.claims import BegunElsewhere, claimed_epoch, log_head
from tokengrpc.generations.leases import cancelled_elsewhere
from tokengrpc.generations.owned_log import LogMoved, OwnedLog
from tokengrpc.generations.sink_writer import SinkWriter
from tokengrpc.generations.timers import Timers
from tokengrpc.generations.usage_records import recorded_end
from tokengrpc.generations.writer import BufferWriter
from tokengrpc.shortages import overloaded

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.core.admission import Permit
    from tokengrpc.core.generation import Generation
    from tokengrpc.core.ports.ledger import UsageRecord
    from tokengrpc.errors import EngineStalled, StreamEnded
    from tokengrpc.generations.buffer import EventBuffer
    from tokengrpc.generations.services import Services
    from tokengrpc.generations.spec import GenerationSpec
    from tokengrpc.generations.writer import EventWriter

LEAVING = "the server is shutting down, and another one continues this generation: resume there"

log = structlog.get_logger(__name__)


class Production:
    """Producer of a generation's events. It exists only until the end has been recorded and published."""

    def __init__(
        self,
        spec: GenerationSpec,
        generation: Generation,
        buffer: EventBuffer,
        services: Services,
        permit: Permit,
        *,
        delivered: Callable[[], int],
        on_end: Callable[[UsageRecord, StreamEnded | None], None],
    ) -> None:
        """Starts. `delivered` returns the last sequence that was handed to the transport for any reader.

        `on_end` is called once the end has been recorded and published. If another server goes on instead,
        nothing is recorded here, and it is called with the end of the streams.
        """
        self.peer = spec.peer
        self._spec = spec
        self._generation = generation
        self._buffer = buffer
        self._services = services
        self._permit = permit
        self._on_end = on_end
        self._decision = EndDecision(generation)
        self._writer: EventWriter = BufferWriter(buffer)
        self._bill = Bill(spec, generation, buffer, services, delivered)
        self._attempts: AttemptRunner | None = None
        taken = spec.taken
        self._producing = self._finishing = False
        self._hand_over: Termination | None = None
        if taken is not None:
            self._writer = self._sink_writer(taken.epoch)
        self._timers = Timers(
            spec.request,
            spec.model.clocks,
            services.limits,
            clock=services.clock,
            deadline_left=spec.deadline_left,
            passed=0.0 if taken is None else services.seconds() - generation.timestamps.created / 1e9,
            stop=self.stop,
            silent=self._engine_silent,
            lag=services.lag,
        )
        if taken is not None and taken.end is not None:
            self.stop(taken.end)
        self._task = asyncio.get_running_loop().create_task(self._produce())

    @property
    def ends_at(self) -> float:
        """The latest time at which the generation ends, on the loop's clock."""
        return self._timers.ends_at

    @property
    def queue_position(self) -> int:
        """Position in the wait queue of the model; 0 if the generation does not wait."""
        return 0 if self._attempts is None else self._attempts.queue_position

    def stop(self, termination: Termination) -> None:
        """Ends the generation now, whatever its engine is doing. No effect if it is ending already."""
        # A task that is cancelled before its first step never runs, but this one must.
        if self._decision.stop(termination) and self._producing:
            if self._attempts is not None:
                self._attempts.stopping(termination)
            self._task.cancel()

    def hand_over(self) -> None:
        """Ends the generation here, for another server to continue it. Without a log, it fails with DRAINING.

        So does one with the caller's own key for engines, which is not in the log.
        """
        end = Termination.failed(Draining("the server shut down: try another one"))
        if not self._spec.request.engine_key:
            self._hand_over = end
        self.stop(end)

    async def give_up_engine(self) -> None:
        """Ends the generation although its engine has not reacted to `stop`."""
        await self._finish(self._decision.interrupted(readable=self._readable))

    def stop_later(self) -> None:
        """Ends the generation after its `detach_ttl`, because no reader is left."""
        self._timers.start_detach(Termination.failed(DetachExpired("no reader came back in time")))

    @property
    def epoch(self) -> int:
        """Epoch in which this server owns the log; 0 before that, and without a sink."""
        return self._writer.epoch

    def contest(self) -> None:
        """Stops if another server owns the log. Then nothing is written, neither events nor usage."""
        self._writer.contest()

    def restore_log(self) -> None:
        """Writes the log again, because the store has lost it."""
        self._writer.restore()

    def keep_running(self) -> None:
        """Withdraws `stop_later`, because there is a reader."""
        self._timers.cancel_detach()

    def _engine_silent(self, stall: EngineStalled) -> None:
        """Ends the running attempt, and with it the generation unless another engine continues."""
        if self._attempts is not None and self._decision.stall(stall):
            self._attempts.forgo_usage()
            self._task.cancel()

    async def _produce(self) -> None:
        self._producing = True
        try:
            termination = await self._generate()
        except asyncio.CancelledError:
            uncancel()
            termination = self._decision.interrupted(readable=self._readable)
        except Exception as error:
            shortage = None if isinstance(error, TokenGrpcError) else overloaded(error)
            if shortage is None and not isinstance(error, TokenGrpcError):
                log.exception("unexpected error in a generation", generation_id=self._spec.key.generation_id)
            # The generation keeps the error, and the frames of its traceback refer to the generation.
            termination = self._decision.failed(without_traceback(shortage or error))
        await self._finish(termination)

    async def _generate(self) -> Termination:
        if self._decision.stopped:
            return self._decision.interrupted(readable=False)
        with self._timers.paused():
            record = await self._bill.closed_record()
            if record is not None and (end := recorded_end(record, self._spec.request, self._buffer)):
                self._generation.recorded(record.usage)
                return end
            grant = await self._bill.reserve()
            if self._spec.taken is None:
                await self._claim(self._spec)
        self._attempts = AttemptRunner(
            self._spec,
            self._generation,
            services=self._services,
            writer=self._writer,
            timers=self._timers,
            decision=self._decision,
            grant=grant,
            on_accept=self._accepted,
            permit=self._permit,
        )
        return await self._attempts.run()

    async def _claim(self, spec: GenerationSpec) -> None:
        """Claims the log, if there is a sink. While that is away, events stay in memory if it may be so."""
        watch = self._services.store_watch
        try:
            epoch = await claimed_epoch(spec, self._generation, self._services, self._buffer.incarnation)
        except StoreUnavailable as error:
            if watch is None or watch.strict or isinstance(error, BegunElsewhere):
                raise
            self._generation.keep_in_memory()
            epoch = 0
        self._writer = self._sink_writer(epoch)

    def _sink_writer(self, epoch: int) -> EventWriter:
        """Returns the writer of a log that this server owns in an epoch; 0 if it is to be claimed later."""
        services, spec, watch = self._services, self._spec, self._services.store_watch
        if services.sink is None or watch is None:
            return self._writer
        owned = OwnedLog(
            services.sink,
            spec.key,
            self._buffer,
            services.sink_patience,
            epoch=epoch,
            fingerprint=spec.request.fingerprint,
            head=lambda: log_head(spec, self._generation, services),
            on_cancel=lambda: self.stop(cancelled_elsewhere()),
        )
        return SinkWriter(
            self._buffer,
            owned,
            watch,
            max_pending_bytes=services.limits.max_unacknowledged_bytes,
            on_stop=self.stop,
        )

    async def _accepted(self) -> None:
        """Notes that an engine has accepted the request. The first time, begins the usage record."""
        if self._attempts is None or not await self._bill.begin():
            return
        now = self._services.seconds()
        self._services.observers.emit(
            GenerationStarted(
                key=self._spec.key,
                model=self._spec.model.name,
                engine=self._generation.attempts.engines[-1],
                queue_seconds=now - self._generation.timestamps.created / 1e9,
                priority=self._spec.request.priority,
                trace=self._spec.trace,
            )
        )

    @property
    def _readable(self) -> bool:
        return self._generation.last_sequence == self._writer.last_sequence

    async def _finish(self, termination: Termination) -> None:
        if self._finishing:
            return
        self._finishing = True
        self._timers.close()
        generation = self._generation
        termination = self._decision.close(termination)
        try:
            # The adoption must overtake neither the record's end nor its next owner.
            await self._bill.adopted()
            if termination is self._hand_over and self._writer.epoch:
                await self._release()
                return
            await self._writer.flush()
            if self._writer.fenced:
                await self._leave(StreamInterrupted(self._writer.farewell))
                return
            if not await self._publish(termination):
                await self._leave(StreamInterrupted(self._writer.farewell))
                return
        except Exception:
            # Readers must neither wait forever nor mistake this for success.
            log.exception(
                "the end of a generation cannot be published", generation_id=self._spec.key.generation_id
            )
            await self._fail(Internal("the server failed at the end of the generation: try again"))
        record, writer = self._bill.record(), self._writer
        # What runs the generation refers to this object, which is not to refer to it any more.
        self._attempts = None
        self._writer = BufferWriter(self._buffer)
        self._on_end(record, None)
        # Kept for as long as it may be replayed, or not at all if nothing is in it.
        await writer.retain(
            self._services.replay_ttl(self._spec.request) if generation.timestamps.started else 0.0
        )

    async def _release(self) -> None:
        """Gives the log up with all that the store has acknowledged, and ends here."""
        writer, services, key = self._writer, self._services, self._spec.key
        with suppress(TimeoutError):  # what the store has not acknowledged by then, no reader has
            async with asyncio.timeout(services.limits.store_timeout):
                await writer.flush()
        sink, epoch, was_fenced = services.sink, writer.epoch, writer.fenced
        writer.fence()
        if sink is not None and not was_fenced:
            await services.sink_patience.quietly(lambda: sink.release({key: epoch}))
        await self._leave(StreamDrained(LEAVING))

    async def _leave(self, ending: StreamEnded) -> None:
        """Ends here, because another server goes on. Only what was reserved here is returned.

        The generation itself has not ended.
        """
        self._generation.resync(self._buffer.last_sequence)
        await self._bill.leave()
        record = self._bill.record()
        self._attempts = None
        self._writer = BufferWriter(self._buffer)
        self._on_end(record, ending)

    async def _publish(self, termination: Termination) -> bool:
        """Records the end and shows it. Returns False if that is left to the log's next owner."""
        generation, writer, services = self._generation, self._writer, self._services
        failure = await writer.flush()
        if failure is not None:
            writer.abandon()
            termination = Termination.failed(failure)
        generation.resync(writer.last_sequence)
        events = generation.end(termination, services.clock.now_ns())
        await self._bill.close()
        if events:
            *before, end = events
            # Readers may have fewer records than the attempts wrote.
            last_tail = self._buffer.tail(self._buffer.last_sequence)
            events = [*before, end.billed(generation.usage, generation.cost)]
            records = services.encoder.recorder(last_tail).records(events)
            writer.write(records)
            if (failure := await writer.flush()) is not None:
                if isinstance(failure, LogMoved):
                    return False
                writer.abandon()
                writer.write(records)
        return True

    async def _fail(self, error: Internal) -> None:
        """Ends a generation whose end could not be published. It is billed, and its reservation is returned.

        If another server owns the log, that server bills it.
        """
        self._generation.fail(Termination.failed(error), self._services.clock.now_ns())
        try:
            await (self._bill.leave() if self._writer.fenced else self._bill.close())
        except Exception:
            log.exception(
                "the end of a generation cannot be recorded", generation_id=self._spec.key.generation_id
            )
