"""All generations of this process, by tenant and id: start or attach, resume, cancel, look up, drain."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

from tokengrpc.core.catalog import capable_engines
from tokengrpc.core.deadline import MIN_LEFT
from tokengrpc.core.termination import Termination
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
from tokengrpc.generations.subscription import Subscription
from tokengrpc.generations.task import GenerationTask
from tokengrpc.generations.timers import within

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tokengrpc.core.admission import Admission
    from tokengrpc.core.catalog import Catalog
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.core.tenant import Tenant
    from tokengrpc.generations.services import Services


class GenerationRegistry:
    """The generations under way and those that ended a short while ago."""

    def __init__(self, services: Services, catalog: Catalog, admission: Admission) -> None:
        self._services = services
        self._catalog = catalog
        self._admission = admission
        self._limits = services.limits
        self._tasks: dict[tuple[str, str], GenerationTask] = {}
        self._forgetters: dict[GenerationTask, asyncio.TimerHandle] = {}
        # Forgotten ones whose readers have not left yet: a write may hang.
        self._lingering: list[GenerationTask] = []
        self._sweeper: asyncio.TimerHandle | None = None
        self._drain_notice: bytes | None = None
        self.ready = False

    def open(
        self, request: GenerationRequest, tenant: Tenant, deadline_left: float | None
    ) -> tuple[GenerationTask, Subscription]:
        """Starts a generation, or attaches to the one that has this id and an equal request.

        Raises what admission and the catalog raise, GenerationIdReused, Draining, Overloaded,
        DeadlineExceeded (too little time is left to begin).
        """
        generation_id = request.generation_id or uuid.uuid4().hex
        task = self._tasks.get((tenant.name, generation_id))
        if task is None:
            task = self._start(
                dataclasses.replace(request, generation_id=generation_id), tenant, deadline_left
            )
            return task, self._subscription(task, 0, deadline_left)
        if task.request.fingerprint != request.fingerprint:
            raise GenerationIdReused(
                f"generation id {generation_id} is in use with another request: take a new id",
                metadata={"generation_id": generation_id},
            )
        return task, self._attach(task, 0, deadline_left)

    def resume(
        self, tenant: Tenant, generation_id: str, after: int, deadline_left: float | None
    ) -> tuple[GenerationTask, Subscription]:
        """Reads on after a sequence.

        Raises GenerationNotFound, SequenceOutOfRange, ReplayExpired, ReaderLimit.
        """
        task = self.get(tenant, generation_id)
        if after > task.log.last_sequence:
            raise SequenceOutOfRange(
                f"after_sequence {after} is beyond the last event, {task.log.last_sequence}: resume after the"
                " last sequence that this generation sent"
            )
        return task, self._attach(task, after, deadline_left)

    def find(self, tenant: Tenant, generation_id: str) -> GenerationTask | None:
        """A generation of this tenant, if there is one."""
        return self._tasks.get((tenant.name, generation_id))

    def get(self, tenant: Tenant, generation_id: str) -> GenerationTask:
        """A generation of this tenant. Raises GenerationNotFound."""
        task = self.find(tenant, generation_id)
        if task is None:
            raise GenerationNotFound(
                f"there is no generation {generation_id[:128]!r}, or it is no longer kept",
                metadata={"generation_id": generation_id[:128]},
            )
        return task

    async def cancel(self, tenant: Tenant, generation_id: str) -> GenerationTask:
        """Stops a generation for all its readers and waits, within a bound, until it has ended."""
        task = self.get(tenant, generation_id)
        task.stop(Termination.failed(Cancelled("a caller cancelled it")))
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.cancel_wait):
                await task.wait_ended()
        return task

    @property
    def active(self) -> int:
        """Generations under way."""
        return self._admission.active

    def begin_drain(self, notice: bytes) -> None:
        """Refuses new generations from now on and tells all readers."""
        self._drain_notice = notice
        for subscription in self._subscriptions():
            subscription.notify(notice)

    async def wait_idle(self) -> None:
        """Returns when no generation is under way and no reader is left."""
        while tasks := [task for task in self._known() if not task.done or task.subscriptions]:
            await tasks[0].wait_quiet()

    async def stop_all(self, termination: Termination) -> None:
        """Ends every generation and waits for it."""
        tasks = [task for task in self._tasks.values() if not task.done]
        for task in tasks:
            task.stop(termination)
        for task in tasks:
            await task.wait_ended()

    def close(self) -> None:
        """Forgets everything."""
        for task in tuple(self._tasks.values()):
            self._forget(task)
        if self._sweeper is not None:
            self._sweeper.cancel()

    def sweep(self) -> None:
        """Ends streams whose reader has stopped reading; calls itself again while the server runs."""
        now = asyncio.get_running_loop().time()
        stall = self._limits.write_stall_timeout
        for subscription in self._subscriptions():
            if subscription.write_began is not None and now - subscription.write_began >= stall:
                subscription.fail(
                    ReaderTooSlow(
                        f"this reader took nothing for {stall:g} s: resume after the last sequence"
                    ),
                    interrupt=True,
                )
        self._sweeper = asyncio.get_running_loop().call_later(stall / 8, self.sweep)

    def _start(
        self, request: GenerationRequest, tenant: Tenant, deadline_left: float | None
    ) -> GenerationTask:
        if self._drain_notice is not None:
            raise Draining("the server is shutting down: try another one")
        if not self.ready:
            raise Overloaded("the server is still loading its models: try again shortly")
        model = self._catalog.resolve(request.model)
        capable = capable_engines(request, model)
        if deadline_left is not None and deadline_left < MIN_LEFT:
            raise DeadlineExceeded(
                f"{deadline_left * 1000:.0f} ms are left, less than the {MIN_LEFT * 1000:.0f} ms that a"
                " generation needs: allow more time"
            )
        if not self._services.logs.has_room:
            raise Overloaded("the server's memory for replays is full: try again shortly")
        permit = self._admission.admit(tenant, model.name)
        task = GenerationTask(
            self._bounded(dataclasses.replace(request, model=model.name, record_id=uuid.uuid4().hex)),
            tenant=tenant,
            model=model,
            capable=capable,
            services=self._services,
            permit=permit,
            deadline_left=deadline_left,
            on_end=self._ended,
        )
        self._tasks[tenant.name, request.generation_id] = task
        return task

    def _bounded(self, request: GenerationRequest) -> GenerationRequest:
        largest = self._limits.max_output_token_count
        asked = request.max_output_token_count
        if not largest or (asked is not None and asked <= largest):
            return request
        return dataclasses.replace(request, max_output_token_count=largest)

    def _attach(self, task: GenerationTask, after: int, deadline_left: float | None) -> Subscription:
        if len(task.subscriptions) >= self._limits.max_readers:
            raise ReaderLimit(
                f"this generation has {len(task.subscriptions)} readers, the limit: resume when one has left"
            )
        last = task.log.last_sequence
        if after < last and after + 1 < task.log.first_sequence:
            raise ReplayExpired(
                f"the events after {after} are no longer kept (the first kept is {task.log.first_sequence}):"
                " start again under a new id"
            )
        subscription = self._subscription(task, after, deadline_left)
        if last and not (task.done and after == last):
            subscription.notify(task.encoder.attached(task.generation.state, last))
        return subscription

    def _subscription(self, task: GenerationTask, after: int, deadline_left: float | None) -> Subscription:
        subscription = Subscription(
            task, after, deadline_left=deadline_left, heartbeat=self._limits.heartbeat_interval
        )
        if self._drain_notice is not None:
            subscription.notify(self._drain_notice)
        return subscription

    def _known(self) -> Iterable[GenerationTask]:
        self._lingering = [task for task in self._lingering if task.subscriptions]
        return (*self._tasks.values(), *self._lingering)

    def _subscriptions(self) -> Iterable[Subscription]:
        return [subscription for task in self._known() for subscription in task.subscriptions]

    def _ended(self, task: GenerationTask) -> None:
        if not task.started:
            # It was never accepted: its id is free, and there is nothing to replay.
            self._forget(task)
            return
        ttl = within(task.request.recovery.replay_ttl, self._limits.replay_ttl, self._limits.max_replay_ttl)
        self._forget_later(task, ttl)

    def _forget_later(self, task: GenerationTask, ttl: float) -> None:
        self._forgetters[task] = asyncio.get_running_loop().call_later(ttl, self._expire, task, ttl)

    def _expire(self, task: GenerationTask, ttl: float) -> None:
        # Nobody loses the rest of a replay that had begun in time.
        if task.subscriptions:
            self._forget_later(task, ttl)
        else:
            self._forget(task)

    def _forget(self, task: GenerationTask) -> None:
        timer = self._forgetters.pop(task, None)
        if timer is not None:
            timer.cancel()
        self._tasks.pop((task.tenant.name, task.request.generation_id), None)
        if task.subscriptions:
            self._lingering.append(task)
        task.log.close()
