"""Takeovers: this server continues generations whose server is gone, from their logs in the event store."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import structlog

from tokengrpc.core.catalog import capable_engines
from tokengrpc.core.events import RecordKind
from tokengrpc.core.log_head import LogHead
from tokengrpc.core.logged_output import LoggedOutput
from tokengrpc.core.model import LogIdentity
from tokengrpc.core.ports.log import LogRefused, TakeoverStatus
from tokengrpc.core.termination import Termination
from tokengrpc.errors import Draining, ModelNotFound, RequestError, ServerLost, TokenGrpcError
from tokengrpc.generations.leases import cancelled_elsewhere
from tokengrpc.generations.repairs import append_shown
from tokengrpc.generations.spec import GenerationSpec, TakenLog

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from tokengrpc.core.catalog import Catalog, ServedModel
    from tokengrpc.core.model import GenerationKey
    from tokengrpc.core.pooled_engine import PooledEngine
    from tokengrpc.core.ports.log import EventSink, LogState, Record, Takeover
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.generations.followers import Followers
    from tokengrpc.generations.readable import ReadableGeneration
    from tokengrpc.generations.services import Services

_SWEEPS = 16
"""Looks for abandoned generations per lease. Servers look at different times, and so share them."""

_MOST = 64
"""Most generations that one look takes over."""

_MOST_MOVES = 8
"""Moves of a generation after which its server's death ends it: its request may be what kills servers."""

_AT_ONCE = 8
_READ_BYTES = 1 << 20
_LARGE_REQUEST = 64 * 1024
"""Bytes of a request that takes more than about a millisecond to read, and so is read on a thread."""

log = structlog.get_logger(__name__)


class RunsGenerations(Protocol):
    """Runs the generations of this server."""

    def may_go_on(self, key: GenerationKey) -> bool:
        """Returns whether this server may continue a generation of another one now."""

    def go_on(self, spec: GenerationSpec) -> ReadableGeneration:
        """Continues a generation."""


class Takeovers:
    """Looks for abandoned generations, and continues them as after the loss of an engine."""

    def __init__(
        self,
        sink: EventSink,
        services: Services,
        catalog: Catalog,
        followers: Followers,
        registry: RunsGenerations,
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._sink = sink
        self._services = services
        self._catalog = catalog
        self._followers = followers
        self._registry = registry
        self._jitter = jitter
        self._taking: dict[GenerationKey, asyncio.Task[None]] = {}
        self._sweeper: asyncio.Task[None] | None = None
        self._stopped = False
        # Abandoned generations that this server cannot continue, for example because it has not their model:
        # they must not keep it from the others. Each is forgotten some time after it was seen last.
        self._left_alone: dict[GenerationKey, float] = {}
        self._sees = True

    def start(self) -> None:
        """Begins to look for abandoned generations."""
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    async def stop(self) -> None:
        """Stops looking, and gives up what is not continued yet. Nothing is taken over any more."""
        self._stopped = True
        tasks = [*self._taking.values(), *filter(None, [self._sweeper])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._sweeper = None

    async def take(self, key: GenerationKey, state: LogState) -> None:
        """Continues a generation here if its log, which has this state, can be taken over. Never raises.

        Returns when readers can read it here, or once it cannot be taken over.
        """
        if self._stopped or key in self._left_alone:
            return
        if key not in self._taking:
            self._taking[key] = task = asyncio.get_running_loop().create_task(self._try(key, state))
            task.add_done_callback(lambda _: self._taking.pop(key, None))
        # A caller that leaves does not stop it.
        await asyncio.wait([self._taking[key]])

    async def may_continue(self, keys: Mapping[str, GenerationKey]) -> Collection[str]:
        """Returns the ids of the usage records, of these, whose generation some server may still continue.

        Those of which the store says nothing now are among them.
        """
        found: list[str] = []
        rest = list(keys.items())
        while rest:
            some, rest = rest[:_AT_ONCE], rest[_AT_ONCE:]
            answers = await asyncio.gather(*(self._is_open(record_id, key) for record_id, key in some))
            found += [record_id for (record_id, _), is_open in zip(some, answers, strict=True) if is_open]
        return found

    async def _is_open(self, record_id: str, key: GenerationKey) -> bool:
        try:
            state = await self._services.sink_patience.once(lambda: self._sink.describe(key))
        except TokenGrpcError:
            return True
        if state is None or state.ended:
            return False
        return LogHead.decode(state.request).record_id == record_id

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._sink.lease / _SWEEPS * (0.5 + self._jitter()))
            if not self._services.sink_patience.available:
                continue
            try:
                with suppress(TokenGrpcError):  # the heartbeat says that the store is away
                    keys = await self._orphans()
                    for begin in range(0, len(keys), _AT_ONCE):
                        await asyncio.gather(*map(self._look_after, keys[begin : begin + _AT_ONCE]))
            except Exception:
                log.exception("unexpected error while looking for abandoned generations")

    async def _orphans(self) -> list[GenerationKey]:
        limit = _MOST + len(self._left_alone)
        found: Sequence[GenerationKey] = ()
        try:
            found = await self._services.sink_patience.once(lambda: self._sink.orphans(limit))
            self._sees = True
        except LogRefused as error:
            if self._sees:
                log.warning("abandoned generations cannot be looked for", cause=error.message)
            self._sees = False
        for key in self._left_alone.keys() & set(found):
            self._leave_alone(key)
        now = asyncio.get_running_loop().time()
        self._left_alone = {key: until for key, until in self._left_alone.items() if until > now}
        return [key for key in found if key not in self._left_alone]

    async def _look_after(self, key: GenerationKey) -> None:
        if self._registry.may_go_on(key):
            try:
                state = await self._services.sink_patience.once(lambda: self._sink.describe(key))
            except LogRefused as error:
                self._refused(key, error)
                return
            if state is not None and state.orphaned:
                await self.take(key, state)

    def _leave_alone(self, key: GenerationKey) -> None:
        # Longer than a lease: this server itself may have taken it over before it failed.
        self._left_alone[key] = asyncio.get_running_loop().time() + 2 * self._sink.lease

    def _refused(self, key: GenerationKey, error: LogRefused) -> None:
        self._leave_alone(key)
        log.warning(
            "a generation cannot be taken over by this server",
            generation_id=key.generation_id,
            cause=error.message,
        )

    async def _try(self, key: GenerationKey, state: LogState) -> None:
        try:
            await self._take(key, state)
        except LogRefused as error:
            self._refused(key, error)
        except TokenGrpcError as error:
            log.warning("a generation cannot be taken over", cause=error.message)
        except Exception:
            self._leave_alone(key)
            log.exception("unexpected error in a takeover", generation_id=key.generation_id)

    async def _take(self, key: GenerationKey, state: LogState) -> None:
        head = LogHead.decode(state.request)
        model = self._model(head)
        if model is None:
            self._leave_alone(key)
            return
        if not self._registry.may_go_on(key):
            return
        patience = self._services.sink_patience
        taken = await patience.once(lambda: self._sink.take_over(key, state.epoch))
        if taken.status is not TakeoverStatus.TAKEN:
            return
        records = await self._read(key, taken)
        if records and records[-1].kind is RecordKind.FINISHED:
            await patience.quietly(lambda: self._sink.retain(key, taken.epoch, head.replay_ttl))
            return
        # Why its owner does not go on: a server that drains has given up the log, one that died has not.
        loss: TokenGrpcError = Draining(_DRAINED) if not state.owner else ServerLost(_LOST)
        request, engines = await self._request(key, state, head, model)
        kills = bool(state.owner) and taken.epoch > _MOST_MOVES
        end = Termination.failed(loss) if kills or not engines else None
        if state.cancel_requested:
            end = cancelled_elsewhere()
        if not self._registry.may_go_on(key):
            await patience.quietly(lambda: self._sink.release({key: taken.epoch}))
            return
        # From here on without a pause, so that the readers of a follower miss nothing.
        follower = self._followers.leave(key)
        buffer = (
            self._services.buffers.create(state.incarnation)
            if follower is None
            else follower.subscribers.buffer
        )
        logged = LoggedOutput(
            head.admitted(key, self._identity(state)),
            self._services.encoder,
            omits_reasoning=request.output.omit_reasoning,
        )
        logged.take(records)
        if rest := [record for record in records if record.sequence > buffer.last_sequence]:
            buffer.append(rest)
        now_ns = self._services.clock.now_ns()
        spec = GenerationSpec(
            key=key,
            identity=head.identity,
            request=request,
            model=model,
            engines=engines,
            deadline_left=(head.deadline - now_ns) / 1e9 if head.deadline else None,
            trace=head.trace,
            taken=TakenLog(
                epoch=taken.epoch,
                logged=logged,
                loss=loss,
                end=end,
                buffer=buffer,
                subscribers=None if follower is None else follower.subscribers,
            ),
        )
        task = self._registry.go_on(spec)
        if follower is not None:
            follower.hand_over(task)
        log.info(
            "took over a generation",
            generation_id=key.generation_id,
            reason=loss.reason.value,
            after_sequence=taken.last,
            continues=end is None,
        )

    def _model(self, head: LogHead) -> ServedModel | None:
        """Returns the model of a generation; None if this server cannot have anything to do with it."""
        if not head.record_id:
            return None
        try:
            return self._catalog.resolve(head.model)
        except ModelNotFound:
            return None

    async def _read(self, key: GenerationKey, taken: Takeover) -> list[Record]:
        """Returns all records, with those that only readers here still have."""
        patience = self._services.sink_patience
        records: list[Record] = []
        while (after := records[-1].sequence if records else 0) < taken.last:
            records += await patience.once(lambda: self._sink.read(key, after, _READ_BYTES))
        if (follower := self._followers.find(key)) is not None:
            records += await append_shown(self._sink, patience, follower, taken.epoch, records)
        return records

    async def _request(
        self, key: GenerationKey, state: LogState, head: LogHead, model: ServedModel
    ) -> tuple[GenerationRequest, Sequence[PooledEngine]]:
        """Returns the request and the engines that can run it: none if it cannot be continued here."""
        outline = head.outline(key, state.fingerprint)
        if not head.request:
            return outline, ()
        decode = self._services.encoder.request
        try:
            if len(head.request) > _LARGE_REQUEST:
                request = await asyncio.to_thread(decode, head.request)
            else:
                request = decode(head.request)
            request = replace(
                request,
                generation_id=key.generation_id,
                model=head.model,
                record_id=head.record_id,
                priority=head.priority,
                fingerprint=state.fingerprint,
            )
            return request, capable_engines(request, model)
        except RequestError:
            return outline, ()

    def _identity(self, state: LogState) -> LogIdentity:
        return LogIdentity(incarnation=state.incarnation, durability=self._sink.durability)


_LOST = "the server that ran the generation died, and no engine can continue its output: start again"
_DRAINED = "the server that ran the generation shut down, and no engine can continue its output: start again"
