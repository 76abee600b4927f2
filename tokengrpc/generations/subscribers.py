"""The subscribers of one generation, and what they need to know of it."""

from __future__ import annotations

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

    @property
    def cursor(self) -> int:
        """The last sequence that was handed to the transport."""

    def wake(self) -> None:
        """Notifies the subscriber that there may be something to read."""

    def notify(self, notice: bytes) -> None:
        """Queues a notice."""

    def fail(self, failure: StreamEnded, *, interrupt: bool = False) -> None:
        """Ends this stream; with `interrupt`, also in the middle of a write."""


class HasState(Protocol):
    """Generation, wherever it runs."""

    @property
    def state(self) -> State:
        """State of the generation."""


class Subscribers:
    """Subscribers of a generation. Separates the two, so that neither side depends on the other's class.

    Until `end`, `on_join` is called when a subscriber joins, `on_empty` when the last one has left. After it,
    the buffer is `complete`: it gets no more events, and may be evicted while there is no subscriber.
    `ends_at` is the latest time at which the generation ends, on the loop's clock.
    """

    def __init__(
        self,
        buffer: EventBuffer,
        encoder: EventEncoder,
        generation: HasState,
        *,
        on_join: Callable[[], None],
        on_empty: Callable[[], None],
        queue_position: Callable[[], int] = int,
    ) -> None:
        self.buffer = buffer
        self.encoder = encoder
        self.complete = False
        self.ends_at = 0.0
        self._generation = generation
        self._on_join: Callable[[], None] | None = on_join
        self._on_empty: Callable[[], None] | None = on_empty
        self._queue_position = queue_position
        self._all: dict[Subscriber, None] = {}
        self._delivered = 0
        buffer.listen(self.wake)

    def move(
        self,
        generation: HasState,
        *,
        on_join: Callable[[], None],
        on_empty: Callable[[], None],
        queue_position: Callable[[], int],
    ) -> None:
        """Takes the same generation in the place where it runs from now on. Subscribers do not notice."""
        self._generation = generation
        self._on_join, self._on_empty, self._queue_position = on_join, on_empty, queue_position

    @property
    def state(self) -> State:
        """State of the generation."""
        return self._generation.state

    @property
    def queue_position(self) -> int:
        """Position of the generation among those that wait for an engine; 0 if it does not wait."""
        return self._queue_position()

    @property
    def delivered(self) -> int:
        """The last sequence that was handed to the transport for any subscriber so far."""
        return max((self._delivered, *(subscriber.cursor for subscriber in self._all)))

    def __len__(self) -> int:
        return len(self._all)

    def __bool__(self) -> bool:
        return bool(self._all)

    def __iter__(self) -> Iterator[Subscriber]:
        return iter(tuple(self._all))

    def join(self, subscriber: Subscriber) -> None:
        """Adds a subscriber."""
        self._all[subscriber] = None
        if self._on_join is not None:
            self._on_join()
        else:
            self.buffer.forbid_eviction()

    def leave(self, subscriber: Subscriber) -> None:
        """Removes a subscriber."""
        del self._all[subscriber]
        self._delivered = max(self._delivered, subscriber.cursor)
        if not self._all:
            self._all = {}  # unlike one that had entries, a new one is no object for the garbage collector
            if self._on_empty is not None:
                self._on_empty()
            else:
                self.buffer.allow_eviction()

    def end(self) -> None:
        """Notes that the generation has ended and everything is published. Wakes all subscribers."""
        # From here on, nothing here refers to what runs the generation.
        self._on_join = self._on_empty = None
        self._queue_position = int
        self.complete = True
        self.buffer.seal()
        if not self._all:
            self.buffer.allow_eviction()
        self.wake()

    def wake(self) -> None:
        """Wakes all subscribers."""
        for subscriber in self._all:
            subscriber.wake()
