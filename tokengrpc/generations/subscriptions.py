"""How callers get their subscriptions: checks of what they have already, and what each is told first."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tokengrpc.core.ports.observer import Opening, SubscriptionEnded, SubscriptionStarted
from tokengrpc.errors import (
    GenerationNotFound,
    LogDiverged,
    ReaderLimit,
    ReaderTooSlow,
    ReplayExpired,
    SequenceOutOfRange,
)
from tokengrpc.generations.subscription import Subscription

if TYPE_CHECKING:
    from tokengrpc.core.model import Cursor
    from tokengrpc.core.trace import TraceContext
    from tokengrpc.generations.readable import ReadableGeneration
    from tokengrpc.generations.services import Services


class Subscriptions:
    """Opens the subscriptions of all generations, those that are read from other servers included."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._limits = services.limits
        self._drain_notice: bytes | None = None
        # Those that are entered. Ended generations, which are kept, are many more.
        self._entered: set[Subscription] = set()
        self._left = asyncio.Event()

    def notify_all(self, drain_notice: bytes) -> None:
        """Sends a notice to all subscribers, and to each later one as it comes."""
        self._drain_notice = drain_notice
        for subscription in self._entered:
            subscription.notify(drain_notice)

    def end_stalled(self) -> None:
        """Ends the streams whose write has stalled."""
        now, stall = asyncio.get_running_loop().time(), self._limits.write_stall_timeout
        for subscription in tuple(self._entered):
            if subscription.write_began is not None and now - subscription.write_began >= stall:
                slow = f"this reader read nothing for {stall:g} s: resume after the last sequence"
                subscription.fail(ReaderTooSlow(slow), interrupt=True)

    async def wait_none(self) -> None:
        """Returns when no subscriber is left."""
        while self._entered:
            self._left.clear()
            await self._left.wait()

    def open(
        self,
        generation: ReadableGeneration,
        after: int,
        deadline_left: float | None,
        opening: Opening,
        call: TraceContext,
    ) -> Subscription:
        """Returns a subscription to the events after a sequence. `call` is the call's place in a trace."""
        key, model, observers = generation.key, generation.model_name, self._services.observers

        def ended(subscription: Subscription) -> None:
            self._entered.discard(subscription)
            self._left.set()
            reason = subscription.failure.reason if subscription.failure is not None else ""
            messages = subscription.messages
            observers.emit(SubscriptionEnded(key=key, model=model, reason=reason, messages=messages))

        subscription = Subscription(
            generation.subscribers,
            after,
            deadline_left=deadline_left,
            heartbeat=self._limits.heartbeat_interval,
            queue_heartbeat=self._limits.queue_heartbeat_interval,
            on_begin=self._entered.add,
            on_end=ended,
        )
        observers.emit(
            SubscriptionStarted(
                key=key, model=model, opening=opening, trace=call, generation_trace=generation.trace
            )
        )
        if self._drain_notice is not None:
            subscription.notify(self._drain_notice)
        return subscription

    def attach(
        self,
        generation: ReadableGeneration,
        cursor: Cursor,
        deadline_left: float | None,
        opening: Opening,
        call: TraceContext,
    ) -> Subscription:
        """Returns a subscription to a generation that exists, which begins with a notice of its state.

        Raises GenerationNotFound, SequenceOutOfRange, ReplayExpired, LogDiverged, StoreUnavailable, and
        ReaderLimit.
        """
        subscribers, encoder = generation.subscribers, self._services.encoder
        self._check(cursor, generation)
        if len(subscribers) >= self._limits.max_readers:
            raise ReaderLimit(
                f"this generation has {len(subscribers)} readers, its limit: resume when one has left"
            )
        subscription = self.open(generation, cursor.sequence, deadline_left, opening, call)
        last = subscribers.buffer.last_sequence
        if last and not (generation.complete and cursor.sequence == last):
            subscription.notify(encoder.attached(subscribers.state, last, subscribers.buffer.incarnation))
        return subscription

    def _check(self, cursor: Cursor, generation: ReadableGeneration) -> None:
        """Checks that the events after a cursor are kept, and that they continue what its caller has."""
        buffer, after = generation.subscribers.buffer, cursor.sequence
        if cursor.log_incarnation not in ("", buffer.incarnation):
            generation_id = generation.key.generation_id
            raise GenerationNotFound(
                f"generation {generation_id!r} was started anew since, so its events are not those that you"
                " have: start again under a new id",
                metadata={"generation_id": generation_id},
            )
        if after > buffer.last_sequence:
            self._services.check_settled()
            raise SequenceOutOfRange(
                f"after_sequence {after} is beyond the last event, {buffer.last_sequence}: resume after the"
                " last sequence that this generation sent"
            )
        if after < buffer.last_sequence and after + 1 < buffer.first_sequence:
            raise ReplayExpired(
                f"the events after {after} are no longer kept (the first kept is {buffer.first_sequence}):"
                " start again under a new id"
            )
        # The checksum of no output is 0.
        if cursor.checksum not in (None, self._services.encoder.checksum(buffer.tail(after)) or 0):
            raise LogDiverged(
                f"the output up to event {after} is not the output that you have received: discard it, and"
                " start again under a new id"
            )
