"""All generations of this process, by tenant and id: start or attach, resume, cancel, look up, drain."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

from tokengrpc.core.catalog import able_members
from tokengrpc.core.deadline import MIN_LEFT
from tokengrpc.core.events import Ending
from tokengrpc.errors import (
    Cancelled,
    DeadlineExceeded,
    Draining,
    GenerationIdReused,
    GenerationNotFound,
    Overloaded,
    ReaderLimit,
    ReaderTooSlow,
    ReplayExpired,
    SequenceOutOfRange,
)
from tokengrpc.generations.subscription import Reader
from tokengrpc.generations.task import Run
from tokengrpc.generations.timers import within

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tokengrpc.core.admission import Admission
    from tokengrpc.core.catalog import Catalog
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.core.tenant import Tenant
    from tokengrpc.generations.services import Services


class Streams:
    """The generations under way and those that ended a short while ago."""

    def __init__(self, services: Services, catalog: Catalog, admission: Admission) -> None:
        self._services = services
        self._catalog = catalog
        self._admission = admission
        self._limits = services.limits
        self._runs: dict[tuple[str, str], Run] = {}
        self._forgetters: dict[Run, asyncio.TimerHandle] = {}
        # Forgotten ones whose readers have not left yet: a write may hang.
        self._lingering: list[Run] = []
        self._sweeper: asyncio.TimerHandle | None = None
        self._drain_notice: bytes | None = None
        self.ready = False

    def open(
        self, request: GenerationRequest, tenant: Tenant, deadline_left: float | None
    ) -> tuple[Run, Reader]:
        """Starts a generation, or attaches to the one that has this id and an equal request.

        Raises what admission and the catalog raise, GenerationIdReused, Draining, Overloaded,
        DeadlineExceeded (too little time is left to begin).
        """
        generation_id = request.generation_id or uuid.uuid4().hex
        run = self._runs.get((tenant.name, generation_id))
        if run is None:
            run = self._start(
                dataclasses.replace(request, generation_id=generation_id), tenant, deadline_left
            )
            return run, self._reader(run, 0, deadline_left)
        if run.request.fingerprint != request.fingerprint:
            raise GenerationIdReused(
                f"generation id {generation_id} is in use with another request: take a new id",
                metadata={"generation_id": generation_id},
            )
        return run, self._attach(run, 0, deadline_left)

    def resume(
        self, tenant: Tenant, generation_id: str, after: int, deadline_left: float | None
    ) -> tuple[Run, Reader]:
        """Reads on after a sequence.

        Raises GenerationNotFound, SequenceOutOfRange, ReplayExpired, ReaderLimit.
        """
        run = self.get(tenant, generation_id)
        if after > run.log.last_sequence:
            raise SequenceOutOfRange(
                f"after_sequence {after} is beyond the last event, {run.log.last_sequence}: resume after the"
                " last sequence that this generation sent"
            )
        return run, self._attach(run, after, deadline_left)

    def find(self, tenant: Tenant, generation_id: str) -> Run | None:
        """A generation of this tenant, if there is one."""
        return self._runs.get((tenant.name, generation_id))

    def get(self, tenant: Tenant, generation_id: str) -> Run:
        """A generation of this tenant. Raises GenerationNotFound."""
        run = self.find(tenant, generation_id)
        if run is None:
            raise GenerationNotFound(
                f"there is no generation {generation_id[:128]!r}, or it is no longer kept",
                metadata={"generation_id": generation_id[:128]},
            )
        return run

    async def cancel(self, tenant: Tenant, generation_id: str) -> Run:
        """Stops a generation for all its readers and waits, within a bound, until it has ended."""
        run = self.get(tenant, generation_id)
        run.stop(Ending.failed(Cancelled("a caller cancelled it")))
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.cancel_wait):
                await run.wait_ended()
        return run

    @property
    def active(self) -> int:
        """Generations under way."""
        return self._admission.active

    def begin_drain(self, notice: bytes) -> None:
        """Refuses new generations from now on and tells all readers."""
        self._drain_notice = notice
        for reader in self._readers():
            reader.notify(notice)

    async def wait_idle(self) -> None:
        """Returns when no generation is under way and no reader is left."""
        while runs := [run for run in self._known() if not run.done or run.readers]:
            await runs[0].wait_quiet()

    async def stop_all(self, ending: Ending) -> None:
        """Ends every generation and waits for it."""
        runs = [run for run in self._runs.values() if not run.done]
        for run in runs:
            run.stop(ending)
        for run in runs:
            await run.wait_ended()

    def close(self) -> None:
        """Forgets everything."""
        for run in tuple(self._runs.values()):
            self._forget(run)
        if self._sweeper is not None:
            self._sweeper.cancel()

    def sweep(self) -> None:
        """Ends streams whose reader has stopped reading; calls itself again while the server runs."""
        now = asyncio.get_running_loop().time()
        stall = self._limits.write_stall_timeout
        for reader in self._readers():
            if reader.write_began is not None and now - reader.write_began >= stall:
                reader.fail(
                    ReaderTooSlow(
                        f"this reader took nothing for {stall:g} s: resume after the last sequence"
                    ),
                    interrupt=True,
                )
        self._sweeper = asyncio.get_running_loop().call_later(stall / 8, self.sweep)

    def _start(self, request: GenerationRequest, tenant: Tenant, deadline_left: float | None) -> Run:
        if self._drain_notice is not None:
            raise Draining("the server is shutting down: try another one")
        if not self.ready:
            raise Overloaded("the server is still loading its models: try again shortly")
        model = self._catalog.resolve(request.model)
        able = able_members(request, model)
        if deadline_left is not None and deadline_left < MIN_LEFT:
            raise DeadlineExceeded(
                f"{deadline_left * 1000:.0f} ms are left, less than the {MIN_LEFT * 1000:.0f} ms that a"
                " generation needs: allow more time"
            )
        if not self._services.logs.has_room:
            raise Overloaded("the server's memory for replays is full: try again shortly")
        permit = self._admission.admit(tenant, model.name)
        run = Run(
            self._bounded(dataclasses.replace(request, model=model.name, record_id=uuid.uuid4().hex)),
            tenant=tenant,
            model=model,
            able=able,
            services=self._services,
            permit=permit,
            deadline_left=deadline_left,
            on_end=self._ended,
        )
        self._runs[tenant.name, request.generation_id] = run
        return run

    def _bounded(self, request: GenerationRequest) -> GenerationRequest:
        largest = self._limits.max_output_token_count
        asked = request.max_output_token_count
        if not largest or (asked is not None and asked <= largest):
            return request
        return dataclasses.replace(request, max_output_token_count=largest)

    def _attach(self, run: Run, after: int, deadline_left: float | None) -> Reader:
        if len(run.readers) >= self._limits.max_readers:
            raise ReaderLimit(
                f"this generation has {len(run.readers)} readers, the limit: resume when one has left"
            )
        last = run.log.last_sequence
        if after < last and after + 1 < run.log.first_sequence:
            raise ReplayExpired(
                f"the events after {after} are no longer kept (the first kept is {run.log.first_sequence}):"
                " start again under a new id"
            )
        reader = self._reader(run, after, deadline_left)
        if last and not (run.done and after == last):
            reader.notify(run.encoder.attached(run.generation.state, last))
        return reader

    def _reader(self, run: Run, after: int, deadline_left: float | None) -> Reader:
        reader = Reader(run, after, deadline_left=deadline_left, heartbeat=self._limits.heartbeat_interval)
        if self._drain_notice is not None:
            reader.notify(self._drain_notice)
        return reader

    def _known(self) -> Iterable[Run]:
        self._lingering = [run for run in self._lingering if run.readers]
        return (*self._runs.values(), *self._lingering)

    def _readers(self) -> Iterable[Reader]:
        return [reader for run in self._known() for reader in run.readers]

    def _ended(self, run: Run) -> None:
        if not run.started:
            # It was never accepted: its id is free, and there is nothing to replay.
            self._forget(run)
            return
        ttl = within(run.request.recovery.replay_ttl, self._limits.replay_ttl, self._limits.max_replay_ttl)
        self._forget_later(run, ttl)

    def _forget_later(self, run: Run, ttl: float) -> None:
        self._forgetters[run] = asyncio.get_running_loop().call_later(ttl, self._expire, run, ttl)

    def _expire(self, run: Run, ttl: float) -> None:
        # Nobody loses the rest of a replay that had begun in time.
        if run.readers:
            self._forget_later(run, ttl)
        else:
            self._forget(run)

    def _forget(self, run: Run) -> None:
        timer = self._forgetters.pop(run, None)
        if timer is not None:
            timer.cancel()
        self._runs.pop((run.tenant.name, run.request.generation_id), None)
        if run.readers:
            self._lingering.append(run)
        run.log.close()
