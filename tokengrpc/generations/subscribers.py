"""The subscribers of one generation, and what they need to know of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tokengrpc.core.model import State
    from tokengrpc.core.ports.log import EventEncoder
    from tokengrpc.errors import StreamEnded
    from tokengrpc.generations.buffer import EventBuffer


class Subscriber(Protocol):
    """Reader of a generation, as the generation sees it. `write_began` is the start of a pending write."""

    write_began: float | None

    def wake(self) -> None:
        """Notifies the subscriber that there may be something to read."""

    def notify(self, notice: bytes) -> None:
        """Queues a notice."""

    def fail(self, failure: StreamEnded, *, interrupt: bool = False) -> None:
        """Ends this stream; with `interrupt`, also in the middle of a write."""


class Subscribers:
    """Subscribers of a generation. Separates the two, so that neither side depends on the other's class.

    `on_join` is called when a subscriber joins, `on_empty` when the last one has left. `complete` says that
    the buffer gets no more events. `ends_at` is the latest time at which the generation ends, on the loop's
    clock.
    """

    def __init__(
        self,
        buffer: EventBuffer,
        encoder: EventEncoder,
        *,
        state: Callable[[], State],
        on_join: Callable[[], None],
        on_empty: Callable[[], None],
    ) -> None:
        self.buffer = buffer
        self.encoder = encoder
        self.state = state
        self.complete = False
        self.ends_at = 0.0
        self._on_join = on_join
        self._on_empty = on_empty
        self._all: dict[Subscriber, None] = {}
        self._left = asyncio.Event()
        buffer.listen(self.wake)

    def __len__(self) -> int:
        return len(self._all)

    def __bool__(self) -> bool:
        return bool(self._all)

    def __iter__(self) -> Iterator[Subscriber]:
        return iter(tuple(self._all))

    def join(self, subscriber: Subscriber) -> None:
        """Adds a subscriber."""
        self._all[subscriber] = None
        self._on_join()

    def leave(self, subscriber: Subscriber) -> None:
        """Removes a subscriber."""
        del self._all[subscriber]
        self._left.set()
        if not self._all:
            self._on_empty()

    def wake(self) -> None:
        """Wakes all subscribers."""
        for subscriber in self._all:
            subscriber.wake()

    async def wait_empty(self) -> None:
        """Returns when no subscriber is left."""
        while self._all:
            self._left.clear()
            await self._left.wait()
