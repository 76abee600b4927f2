"""One generation, from its admission until it is forgotten."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import structs

from tokengrpc.core.generation import Generation
from tokengrpc.core.model import LogIdentity
from tokengrpc.core.ports.log import LeaseStatus
from tokengrpc.core.ports.observer import GenerationEnded, GenerationMoved
from tokengrpc.core.request import without_input
from tokengrpc.core.termination import Termination
from tokengrpc.errors import (
    Cancelled,
    EngineError,
    ModelNotFound,
    ServerError,
    TokenGrpcError,
)
from tokengrpc.generations.leases import cancelled_elsewhere
from tokengrpc.generations.production import Production
from tokengrpc.generations.subscribers import Subscribers

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.core.admission import Permit
    from tokengrpc.core.ports.ledger import UsageRecord
    from tokengrpc.core.ports.log import Lease
    from tokengrpc.core.snapshot import GenerationSnapshot
    from tokengrpc.errors import StreamEnded
    from tokengrpc.generations.services import Services
    from tokengrpc.generations.spec import GenerationSpec

_GRACE_LEASES = 3
"""Leases within which the readers of a generation that was taken over have to come back."""

_asking: set[asyncio.Task[None]] = set()
"""Tasks that ask for readers on other servers, kept until they are done."""


class GenerationTask:
    """Generation with its events and subscribers. After its end, only what replays need is kept of it.

    An ended generation consists of few objects, none of which is part of a reference cycle.
    """

    __slots__ = (
        "__weakref__",
        "_ended",
        "_grace",
        "_on_end",
        "_permit",
        "_production",
        "_read_elsewhere",
        "_relayed",
        "_services",
        "generation",
        "key",
        "model",
        "request",
        "subscribers",
        "trace",
    )

    def __init__(
        self,
        spec: GenerationSpec,
        services: Services,
        permit: Permit,
        on_end: Callable[[GenerationTask, bool], None],
    ) -> None:
        """Starts the production; `on_end` is called once the end has been recorded and published.

        It is called with True if another server goes on with the generation.
        """
        self.key = spec.key
        self.request = spec.request
        self.model = spec.model
        self.trace = spec.trace
        taken = spec.taken
        buffer = services.buffers.create() if taken is None else taken.buffer
        self.generation = Generation(
            spec.request,
            spec.model.tokenizer,
            services.clock.now_ns() if taken is None else taken.logged.snapshot.timestamps.created,
            log=LogIdentity(incarnation=buffer.incarnation, durability=services.durability),
            server=services.server,
            prices=services.prices(),
        )
        if taken is not None:
            logged = taken.logged
            self.generation.restore(logged.snapshot, logged.token_count, logged.time_ns)
        joined, left, position = self._joined, self._left, self._queue_position
        if taken is None or taken.subscribers is None:
            self.subscribers = Subscribers(
                buffer,
                services.encoder,
                self.generation,
                on_join=joined,
                on_empty=left,
                queue_position=position,
            )
        else:
            self.subscribers = taken.subscribers
            self.subscribers.move(self.generation, on_join=joined, on_empty=left, queue_position=position)
        self._services = services
        self._permit: Permit | None = permit
        self._on_end: Callable[[GenerationTask, bool], None] | None = on_end
        self._relayed = 0
        self._read_elsewhere = False
        self._ended: asyncio.Event | None = asyncio.Event()
        self._production: Production | None = Production(
            spec,
            self.generation,
            buffer,
            services,
            permit,
            delivered=self._delivered,
            on_end=self._end,
        )
        self.subscribers.ends_at = self._production.ends_at
        self._grace: asyncio.TimerHandle | None = None
        if taken is not None and services.sink is not None:
            # Until then, those who read it at its last owner may come here, or to a third server.
            grace = _GRACE_LEASES * services.sink.lease
            self._grace = asyncio.get_running_loop().call_later(grace, self._expect_readers)

    @property
    def complete(self) -> bool:
        """Whether the end has been recorded and published."""
        return self.subscribers.complete

    @property
    def started(self) -> bool:
        """Whether an engine has accepted the request."""
        return bool(self.generation.timestamps.started)

    @property
    def model_name(self) -> str:
        """Name of its model."""
        return self.model.name

    @property
    def epoch(self) -> int:
        """Epoch in which this server owns the log; 0 before that, after the end, and without a sink."""
        return 0 if self._production is None else self._production.epoch

    def leased(self, lease: Lease) -> None:
        """Takes the state of its lease."""
        if self._production is None:
            return
        if lease.status is LeaseStatus.FENCED:
            self._production.contest()
        elif lease.status is LeaseStatus.UNKNOWN:
            self._production.restore_log()
        elif lease.status is LeaseStatus.CANCEL_REQUESTED:
            self.stop(cancelled_elsewhere())
        elif lease.status is LeaseStatus.HELD and not self.subscribers:
            self._read_by(lease.subscribers)

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
            # Nothing has ended if another server goes on.
            complete=self.complete and self.generation.termination is not None,
        )

    def take_relayed(self) -> int:
        """Returns the number of output tokens since the last call."""
        count = self.generation.token_count
        relayed, self._relayed = count - self._relayed, count
        return relayed

    def stop(self, termination: Termination) -> None:
        """Ends the generation now, whatever its engine is doing. No effect if it is ending already."""
        if self._production is not None:
            self._production.stop(termination)

    def hand_over(self) -> None:
        """Ends the generation here, for another server to continue it."""
        if self._production is not None:
            self._production.hand_over()

    async def give_up_engine(self) -> None:
        """Ends the generation although its engine does not react to `stop` or `hand_over`."""
        if self._production is not None:
            await self._production.give_up_engine()

    async def wait_ended(self) -> None:
        """Returns when the end has been recorded and published."""
        if self._ended is not None:
            await self._ended.wait()

    def close(self) -> None:
        """Drops all events."""
        self.subscribers.buffer.close()

    def _joined(self) -> None:
        if self._production is not None:
            self._production.keep_running()

    def _left(self) -> None:
        if self.epoch:
            # There may be readers on other servers: only the store knows.
            self._read_elsewhere = True
            task = asyncio.get_running_loop().create_task(self._ask_readers())
            _asking.add(task)
            task.add_done_callback(_asking.discard)
        else:
            self._left_everywhere()

    async def _ask_readers(self) -> None:
        """Asks the store whether there are readers on other servers. If it is away, the heartbeat asks."""
        sink, patience = self._services.sink, self._services.sink_patience
        if sink is not None:
            with suppress(TokenGrpcError):
                counts = await patience.once(
                    lambda: sink.count_subscribers({self.key: len(self.subscribers)})
                )
                if not self.subscribers:
                    self._read_by(counts.get(self.key, 0))

    def _expect_readers(self) -> None:
        """Makes the next heartbeat end a generation that nobody reads, as if the last reader left now."""
        self._grace, self._read_elsewhere = None, True

    def _read_by(self, count: int) -> None:
        """Takes the number of readers on all servers, while there is none on this one."""
        if count and self._production is not None:
            self._read_elsewhere = True
            self._production.keep_running()
        elif not count and self._read_elsewhere:
            self._read_elsewhere = False
            self._left_everywhere()

    def _left_everywhere(self) -> None:
        if self._production is not None and self.request.recovery.detach:
            self._production.stop_later()
        else:
            self.stop(Termination.failed(Cancelled("the last reader has left")))

    def _queue_position(self) -> int:
        return 0 if self._production is None else self._production.queue_position

    def _delivered(self) -> int:
        return self.subscribers.delivered

    def _end(self, record: UsageRecord, moved: StreamEnded | None) -> None:
        """Releases all that only a running generation needs: replays need the id and usage, not the input.

        If another server goes on, its readers here end with `moved`, and may resume there.
        """
        permit, on_end, ended = self._permit, self._on_end, self._ended
        peer = "" if self._production is None else self._production.peer
        operation = self.request.operation
        self.request = self.generation.request = without_input(self.request)
        self.generation.release()
        self._production = self._permit = self._on_end = self._ended = None
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        if permit is not None:
            permit.release()
        if moved is not None:
            for subscriber in self.subscribers:
                subscriber.fail(moved)
        self.subscribers.end()
        if on_end is not None:
            on_end(self, moved is not None)
        if ended is not None:
            ended.set()
        emit, trace = self._services.observers.emit, self.trace
        if moved is not None:
            emit(GenerationMoved(key=self.key, model=self.model_name, reason=moved.reason, trace=trace))
        else:
            emit(
                GenerationEnded(
                    record=record,
                    timestamps=self.generation.timestamps,
                    peer=peer,
                    failure=_failure(self.generation.termination),
                    operation=operation,
                    trace=trace,
                )
            )
        self.trace = self.trace.bare()


def _failure(end: Termination | None) -> str:
    """Returns what went wrong if an engine or the server failed; empty for what a caller caused."""
    error = end.error if end is not None else None
    # A model that an engine does not know is a mistake in the server's settings.
    return error.log_text if isinstance(error, EngineError | ServerError | ModelNotFound) else ""
