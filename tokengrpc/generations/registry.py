"""Registry of all generations of this process, by tenant and id: start, attach, resume, cancel, drain."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

from tokengrpc.core.catalog import capable_engines
from tokengrpc.core.deadline import MIN_LEFT
from tokengrpc.core.model import Cursor, GenerationKey
from tokengrpc.core.ports.observer import (
    GenerationAdmitted,
    Opening,
    TokensRelayed,
)
from tokengrpc.core.termination import Termination
from tokengrpc.core.trace import NO_TRACE
from tokengrpc.errors import (
    Cancelled,
    DeadlineExceeded,
    Draining,
    GenerationIdReused,
    GenerationNotFound,
    Overloaded,
    StoreUnavailable,
)
from tokengrpc.generations.follower import Follower
from tokengrpc.generations.followers import Followers
from tokengrpc.generations.kept_generations import KeptGenerations
from tokengrpc.generations.spec import GenerationSpec
from tokengrpc.generations.subscriptions import Subscriptions
from tokengrpc.generations.takeovers import Takeovers
from tokengrpc.generations.task import GenerationTask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from tokengrpc.core.admission import Admission
    from tokengrpc.core.catalog import Catalog, ServedModel
    from tokengrpc.core.model import Usage
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.core.tenant import Identity, Tenant
    from tokengrpc.core.trace import TraceContext
    from tokengrpc.generations.readable import ReadableGeneration
    from tokengrpc.generations.services import Services
    from tokengrpc.generations.subscription import Subscription

_ENGINE_PATIENCE = 1.0
"""Seconds that engines have to end their calls when the server stops."""


class GenerationRegistry:
    """Generations that are running, and generations that have ended and can still be read."""

    def __init__(self, services: Services, catalog: Catalog, admission: Admission) -> None:
        self._services = services
        self._catalog = catalog
        self._admission = admission
        self._limits = services.limits
        self._tasks = KeptGenerations()
        self._subscriptions = Subscriptions(services)
        self._draining = False
        self._sweeper: asyncio.TimerHandle | None = None
        sink = services.sink
        self._followers = self.takeovers = None
        if sink is not None:
            self._followers = Followers(sink, services)
            self.takeovers = Takeovers(sink, services, catalog, self._followers, self)
        self.ready = False
        # Whether the server will soon stop: what it took over now, others would have to take over again.
        self.leaving = False

    def __iter__(self) -> Iterator[GenerationTask]:
        return iter(self._tasks)

    def open(
        self,
        request: GenerationRequest,
        identity: Identity,
        deadline_left: float | None,
        call: TraceContext = NO_TRACE,
        peer: str = "",
    ) -> tuple[ReadableGeneration, Subscription]:
        """Starts a generation, or attaches to the generation with this id if its request is equal.

        `call` is the call's place in a trace, `peer` the caller's address. Raises the errors of admission
        and the catalog, GenerationIdReused, Draining, Overloaded, StoreUnavailable, or DeadlineExceeded (too
        little time is left to start).
        """
        generation_id = request.generation_id or uuid.uuid4().hex
        task = self.find(identity.tenant, generation_id)
        if task is None:
            request = dataclasses.replace(request, generation_id=generation_id)
            task = self._start(request, identity, deadline_left, call, peer)
            return task, self._subscriptions.open(task, 0, deadline_left, Opening.START, call)
        if task.request.fingerprint != request.fingerprint:
            raise GenerationIdReused(
                f"generation id {generation_id} is in use with another request: take a new id",
                metadata={"generation_id": generation_id},
            )
        return task, self._subscriptions.attach(task, Cursor(0), deadline_left, Opening.ATTACH, call)

    async def locate(self, tenant: Tenant, generation_id: str) -> None:
        """Looks for a generation on the other servers, if it is not here. Called before all that needs it.

        Continues it here if its server is gone. What has been read here to its end needs no store.

        Raises StoreUnavailable, ReplayExpired.
        """
        key, sink = GenerationKey(tenant.name, generation_id), self._services.sink
        if sink is None or self._followers is None or not generation_id or key in self._tasks:
            return
        try:
            state = await self._services.sink_patience.once(lambda: sink.describe(key))
        except StoreUnavailable:
            followed = self._followers.find(key)
            if followed is not None and followed.complete:
                return
            raise
        if state is not None and state.orphaned and self.takeovers is not None:
            await self.takeovers.take(key, state)
        if state is not None and key not in self._tasks:
            await self._followers.follow(key, state)

    @property
    def shared(self) -> bool:
        """Whether generations may be continued by other servers."""
        return self._services.sink is not None

    def may_go_on(self, key: GenerationKey) -> bool:
        """Returns whether this server may continue a generation of another one now."""
        can = self.ready and not self.leaving and not self._admission.capacity.rejecting
        watch = self._services.store_watch
        # After an outage of the store, its owner comes first.
        can = can and (watch is None or watch.settled)
        return can and key not in self._tasks

    def go_on(self, spec: GenerationSpec) -> GenerationTask:
        """Continues a generation of another server, which has admitted it: limits of the tenant passed."""
        tenant, model = spec.identity.tenant, spec.model
        permit = self._admission.admit(tenant, model.name, queued=model.pool.waiting > 0)
        trace = self._services.observers.begin(
            GenerationAdmitted(key=spec.key, model=model.name, trace=spec.trace)
        )
        spec = dataclasses.replace(spec, request=self._bounded(spec.request, tenant), trace=trace)
        return self._tasks.add(GenerationTask(spec, self._services, permit, self._ended))

    def running(self) -> Mapping[GenerationKey, GenerationTask]:
        """Returns the generations that run here."""
        return {task.key: task for task in self._tasks.running if not task.complete}

    def followed(self) -> Iterable[Follower]:
        """Returns the generations of other servers that are read here."""
        return tuple(self._followers or ())

    @property
    def starts_in_memory(self) -> bool:
        """Whether new generations start although the event store is away, and ids in use are unknown."""
        watch = self._services.store_watch
        return watch is not None and not watch.strict and not watch.available

    @property
    def rejecting(self) -> bool:
        """Whether the next new generation will probably be rejected: its request is best not parsed."""
        return self._admission.capacity.rejecting

    def check_may_start(self, tenant: Tenant, generation_id: str, model_name: str) -> None:
        """Raises the error with which `open` would refuse a new generation, whatever its request holds.

        A request whose id is in use is not refused, because it may attach.
        """
        if not generation_id or self.find(tenant, generation_id) is None:
            self._startable_model(tenant, model_name)

    def resume(
        self,
        tenant: Tenant,
        generation_id: str,
        cursor: Cursor,
        deadline_left: float | None,
        call: TraceContext = NO_TRACE,
    ) -> tuple[ReadableGeneration, Subscription]:
        """Returns a subscription that continues after a cursor. `call` is the call's place in a trace.

        Raises GenerationNotFound, SequenceOutOfRange, ReplayExpired, ReaderLimit, LogDiverged, and
        StoreUnavailable.
        """
        task = self.get(tenant, generation_id)
        return task, self._subscriptions.attach(task, cursor, deadline_left, Opening.RESUME, call)

    def find(self, tenant: Tenant, generation_id: str) -> ReadableGeneration | None:
        """Returns a generation of this tenant; None if there is none with this id here."""
        key = GenerationKey(tenant.name, generation_id)
        found = self._tasks.get(key)
        return self._followers.find(key) if found is None and self._followers is not None else found

    def get(self, tenant: Tenant, generation_id: str) -> ReadableGeneration:
        """Returns a generation of this tenant. Raises GenerationNotFound.

        Raises StoreUnavailable instead while the store may lack logs that their owners write again.
        """
        task = self.find(tenant, generation_id)
        if task is None:
            self._services.check_settled()
            raise GenerationNotFound(
                f"there is no generation {generation_id[:128]!r}, or it is no longer kept; "
                "check the id, or start a new generation",
                metadata={"generation_id": generation_id[:128]},
            )
        return task

    async def cancel(self, tenant: Tenant, generation_id: str) -> ReadableGeneration:
        """Stops a generation for all its subscribers. Waits up to `limits.cancel_wait` until it has ended."""
        task = self.get(tenant, generation_id)
        if isinstance(task, Follower):
            await task.cancel()
        task.stop(Termination.failed(Cancelled("a caller cancelled the generation")))
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.cancel_wait):
                await task.wait_ended()
        return task

    @property
    def active(self) -> int:
        """Number of running generations."""
        return self._admission.active

    def running_usage(self) -> Mapping[str, Usage]:
        """Returns the usage so far of running generations, by record id."""
        return {
            task.request.record_id: task.generation.usage
            for task in self._tasks.running
            if task.started and not task.complete
        }

    def begin_drain(self, notice: bytes) -> None:
        """Rejects new generations from now on, and notifies all subscribers."""
        self.leaving = self._draining = True
        self._subscriptions.notify_all(notice)

    async def wait_idle(self) -> None:
        """Returns when no generation runs and no subscriber is left."""
        while running := self.running():
            for task in running.values():
                await task.wait_ended()
        await self._subscriptions.wait_none()

    async def hand_over_all(self) -> None:
        """Ends all generations here, for other servers to continue them, and returns when they have ended."""
        await self._end_all(GenerationTask.hand_over)

    async def stop_all(self, termination: Termination) -> None:
        """Ends all generations, and returns when they have ended."""
        await self._end_all(lambda task: task.stop(termination))

    async def _end_all(self, end: Callable[[GenerationTask], None]) -> None:
        if self.takeovers is not None:
            await self.takeovers.stop()
        tasks = self.running().values()
        for task in tasks:
            end(task)
        with suppress(TimeoutError):
            async with asyncio.timeout(_ENGINE_PATIENCE):
                for task in tasks:
                    await task.wait_ended()
        await asyncio.gather(*(task.give_up_engine() for task in tasks))
        for task in tasks:
            await task.wait_ended()
        if self._followers is not None:
            await self._followers.stop()

    def close(self) -> None:
        """Forgets all generations."""
        self._tasks.close()
        if self._followers is not None:
            self._followers.close()
        if self._sweeper is not None:
            self._sweeper.cancel()

    def sweep(self) -> None:
        """Ends streams whose write has stalled, reports relayed tokens, and schedules the next sweep."""
        self._subscriptions.end_stalled()
        self._report_relayed(self._tasks.running)
        interval = self._limits.write_stall_timeout / 8
        self._sweeper = asyncio.get_running_loop().call_later(interval, self.sweep)

    def _start(
        self,
        request: GenerationRequest,
        identity: Identity,
        deadline_left: float | None,
        trace: TraceContext,
        peer: str,
    ) -> GenerationTask:
        model = self._startable_model(identity.tenant, request.model)
        engines = capable_engines(request, model)
        if deadline_left is not None and deadline_left < MIN_LEFT:
            raise DeadlineExceeded(
                f"only {deadline_left * 1000:.0f} ms are left until the deadline, and a generation needs"
                f" {MIN_LEFT * 1000:.0f} ms: allow more time"
            )
        permit = self._admission.admit(identity.tenant, model.name, queued=model.pool.waiting > 0)
        key = GenerationKey(identity.tenant.name, request.generation_id)
        request = dataclasses.replace(
            request,
            model=model.name,
            record_id=_new_record_id(self._services.clock.now_ns()),
            priority=identity.tenant.priority(request.priority),
        )
        trace = self._services.observers.begin(GenerationAdmitted(key=key, model=model.name, trace=trace))
        spec = GenerationSpec(
            key=key,
            identity=identity,
            request=self._bounded(request, identity.tenant),
            model=model,
            engines=engines,
            deadline_left=deadline_left,
            trace=trace,
            peer=peer,
        )
        return self._tasks.add(GenerationTask(spec, self._services, permit, self._ended))

    def _startable_model(self, tenant: Tenant, name: str) -> ServedModel:
        """Returns a model if a generation may start on it now. Raises the error that says why it may not."""
        if self._draining:
            raise Draining("the server is shutting down: try another one")
        if not self.ready:
            raise Overloaded("the server is still loading its models: try again shortly")
        model = self._catalog.resolve(name)
        self._admission.check(tenant, model.name, queued=model.pool.waiting > 0)
        if not self._services.buffers.has_room:
            raise self._admission.rejection("log_bytes", "its memory for the events of generations is full")
        self._services.billing.check_available()
        if self._services.store_watch is not None:
            self._services.store_watch.check_available()
        return model

    def _bounded(self, request: GenerationRequest, tenant: Tenant) -> GenerationRequest:
        """Returns the request with the smallest of the maxima that it, its tenant and the server have."""
        maxima = (
            request.max_output_token_count,
            tenant.max_output_token_count,
            self._limits.max_output_token_count,
        )
        smallest = min(filter(None, maxima), default=None)
        if smallest == request.max_output_token_count:
            return request
        return dataclasses.replace(request, max_output_token_count=smallest)

    def _ended(self, task: GenerationTask, moved: bool) -> None:
        self._report_relayed([task])
        if moved or not task.started:
            # No engine accepted the request: the id is free, and there is nothing to replay. Or another
            # server has the generation now.
            self._tasks.forget(task)
            return
        self._tasks.forget_later(task, self._services.replay_ttl(task.request))

    def _report_relayed(self, tasks: Iterable[GenerationTask]) -> None:
        counts: dict[tuple[str, str, str], int] = {}
        for task in tasks:
            relayed = task.take_relayed()
            if relayed:
                group = (task.key.tenant, task.model.name, task.generation.engine)
                counts[group] = counts.get(group, 0) + relayed
        for (tenant, model, engine), count in counts.items():
            event = TokensRelayed(tenant=tenant, model=model, engine=engine, count=count)
            self._services.observers.emit(event)


def _new_record_id(now_ns: int) -> str:
    """Returns a unique id. Ids sort by time, so that a database adds them at the end of its indexes."""
    return f"{now_ns:016x}{secrets.token_hex(8)}"
