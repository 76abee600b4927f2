"""One generation under way: its producer task from the engine to the log, its timers and its readers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from msgspec import structs

from tokengrpc.core.generation import Generation
from tokengrpc.core.ports.engine import SILENT
from tokengrpc.core.ports.ledger import LedgerEntry
from tokengrpc.core.request import without_input
from tokengrpc.core.termination import Termination
from tokengrpc.errors import (
    Cancelled,
    DetachExpired,
    Draining,
    Internal,
    TokenGrpcError,
)
from tokengrpc.generations.attempts import AttemptRunner
from tokengrpc.generations.timers import Timers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokengrpc.core.admission import Permit
    from tokengrpc.core.catalog import ServedModel
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.core.routing import PooledEngine
    from tokengrpc.core.snapshot import GenerationSnapshot
    from tokengrpc.core.tenant import Tenant
    from tokengrpc.errors import EngineStalled
    from tokengrpc.generations.services import Services
    from tokengrpc.generations.subscription import Subscription

log = structlog.get_logger(__name__)


class GenerationTask:
    """A generation, from admission until it is forgotten."""

    def __init__(
        self,
        request: GenerationRequest,
        *,
        tenant: Tenant,
        model: ServedModel,
        capable: Sequence[PooledEngine],
        services: Services,
        permit: Permit,
        deadline_left: float | None,
        on_end: Callable[[GenerationTask], None],
    ) -> None:
        self.request = request
        self.tenant = tenant
        self.model = model
        self.encoder = services.encoder
        self.generation = Generation(request, model.tokenizer, services.clock.now_ns())
        self.log = services.logs.create()
        self.log.listen(self._wake_readers)
        self.subscriptions: dict[Subscription, None] = {}
        self.done = False
        self._ended = asyncio.Event()
        self._left = asyncio.Event()
        self._services = services
        self._permit = permit
        self._on_end = on_end
        self._stopped: Termination | None = None
        self._engines: list[str] = []
        self._producing = False
        self._billed = False
        self._timers = Timers(
            request,
            model.clocks,
            services.limits,
            clock=services.clock,
            deadline_left=deadline_left,
            stop=self.stop,
            silent=self._interrupt,
        )
        self._attempts: AttemptRunner | None = AttemptRunner(
            self.generation,
            model,
            capable,
            services=services,
            log=self.log,
            timers=self._timers,
            on_accept=self._accepted,
            engines=self._engines,
        )
        self._task = asyncio.get_running_loop().create_task(self._produce())

    @property
    def started(self) -> bool:
        """Whether an engine has accepted it."""
        return bool(self.generation.timestamps.started)

    @property
    def ends_at(self) -> float:
        """When it ends at the latest, on the loop's clock."""
        return self._timers.ends_at

    def entry(self) -> LedgerEntry:
        """The generation as the ledger sees it."""
        generation = self.generation
        termination = generation.termination
        return LedgerEntry(
            record_id=self.request.record_id,
            generation_id=self.request.generation_id,
            tenant=self.tenant.name,
            model=self.model.name,
            labels=dict(self.request.labels),
            create_time_ns=generation.timestamps.created,
            usage=generation.usage,
            end_time_ns=generation.timestamps.ended or None,
            finish_reason=termination.reason if termination else None,
            error_reason=termination.error.reason if termination and termination.error else "",
            engines=tuple(self._engines),
        )

    def snapshot(self) -> GenerationSnapshot:
        """The generation as it is now."""
        first, last = self.log.first_sequence, self.log.last_sequence
        return structs.replace(
            self.generation.snapshot(),
            last_sequence=last,
            labels=self.request.labels,
            first_kept_sequence=first if first <= last else 0,
            subscription_count=len(self.subscriptions),
            complete=self.done,
        )

    def join(self, subscription: Subscription) -> None:
        """A reader has come."""
        self.subscriptions[subscription] = None
        self._timers.cancel_detach()
        if self.done:
            self.log.forbid_eviction()

    def leave(self, subscription: Subscription) -> None:
        """A reader has gone; without the last one the generation stops, or waits for another."""
        del self.subscriptions[subscription]
        self._left.set()
        if self.subscriptions:
            return
        if self.done:
            self.log.allow_eviction()
            return
        if self.request.recovery.detach:
            self._timers.start_detach(
                Termination.failed(DetachExpired("nobody came back to read it in time"))
            )
        else:
            self.stop(Termination.failed(Cancelled("its last reader has left")))

    def stop(self, termination: Termination) -> None:
        """Ends the generation now, wherever its engine is; without effect on one that is ending."""
        if self._stopped is None and self.generation.termination is None:
            self._stopped = termination
            if self._attempts is not None:
                self._attempts.stall = None
            # A task that is cancelled before its first step never runs, and this one must.
            if self._producing:
                self._task.cancel()

    def _interrupt(self, stall: EngineStalled) -> None:
        """Ends the attempt that runs, and with it the generation unless another engine goes on."""
        if self._stopped is None and self._attempts is not None:
            self._attempts.stall = stall
            self._task.cancel(SILENT)

    async def wait_ended(self) -> None:
        """Returns when everything about the end is done."""
        await self._ended.wait()

    async def wait_quiet(self) -> None:
        """Returns when it has ended and no reader is left."""
        await self._ended.wait()
        while self.subscriptions:
            self._left.clear()
            await self._left.wait()

    async def _produce(self) -> None:
        try:
            termination = await self._generate()
        except asyncio.CancelledError:
            self._task.uncancel()
            termination = self._interrupted()
        except TokenGrpcError as error:
            termination = Termination.failed(error)
        except Exception:
            log.exception("generation failed by a bug", generation_id=self.request.generation_id)
            termination = Termination.failed(
                Internal("the server failed: try again; its log has the details")
            )
        await self._finish(termination)

    def _interrupted(self) -> Termination:
        # What the engine has ended is not stopped any more: the end that came first counts.
        finish = self.generation.engine_finish
        if finish is not None and self.generation.last_sequence == self.log.last_sequence:
            return Termination.of(finish)
        if self._attempts is not None and self._attempts.stall is not None:
            return Termination.failed(self._attempts.stall)
        return self._stopped or Termination.failed(Draining("the server is shutting down: try another one"))

    async def _generate(self) -> Termination:
        attempts = self._attempts
        self._producing = True
        if self._stopped is not None or attempts is None:
            return self._interrupted()
        return await attempts.run()

    async def _accepted(self) -> None:
        """An engine has accepted: the first time, the bill is opened."""
        if not self._billed:
            self._billed = True
            await self._services.ledger.open(self.entry())

    async def _finish(self, termination: Termination) -> None:
        self._timers.close()
        generation = self.generation
        if not self.started and termination.error is None:
            termination = Termination.failed(self._timers.never_accepted(termination.reason))
        try:
            await self._publish(termination)
        except Exception:
            # Readers must not wait for ever, nor take this for a good end.
            log.exception("a generation's end could not be told", generation_id=self.request.generation_id)
            generation.termination = Termination.failed(Internal("the server failed at the generation's end"))
            generation.state = generation.termination.state
        # What is left is for replays, which need the id and the bill, not the input.
        self._attempts = None
        self.request = generation.request = without_input(self.request)
        if not self.subscriptions:
            self.log.allow_eviction()
        self._permit.release()
        self.done = True
        self._wake_readers()
        self._on_end(self)
        self._ended.set()
        for observer in self._services.observers:
            observer.generation_ended(self.entry())

    async def _publish(self, termination: Termination) -> None:
        generation = self.generation
        generation.resync(self.log.last_sequence)
        last = generation.end(termination, self._services.clock.now_ns())
        records = self.encoder.records(last)
        if self._billed:
            # The bill is written before anybody can see the end.
            await self._services.ledger.close(self.entry())
        if records:
            await self.log.append(records)

    def _wake_readers(self) -> None:
        for subscription in self.subscriptions:
            subscription.wake()
