"""Followers: generations that another server runs, read from the event sink into a local buffer."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING

import structlog
from msgspec import structs

from tokengrpc.core.events import RecordKind
from tokengrpc.core.log_head import LogHead
from tokengrpc.core.model import LogIdentity
from tokengrpc.core.ports.log import JOINABLE, LogRefused
from tokengrpc.core.trace import NO_TRACE
from tokengrpc.errors import (
    GenerationNotFound,
    LogDiverged,
    ReplayExpired,
    StoreUnavailable,
    StreamInterrupted,
    without_traceback,
)
from tokengrpc.generations.subscribers import Subscribers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tokengrpc.core.model import GenerationKey, State
    from tokengrpc.core.ports.log import EventSink, LogState, Record
    from tokengrpc.core.snapshot import GenerationSnapshot
    from tokengrpc.core.termination import Termination
    from tokengrpc.errors import TokenGrpcError
    from tokengrpc.generations.readable import ReadableGeneration
    from tokengrpc.generations.services import Services

_LINGER = 1.0
"""Seconds for which a follower without readers goes on."""

_SILENT_CALLS = 2
"""Time without news, in timeouts of a call of the store, after which there is something wrong."""

log = structlog.get_logger(__name__)


class Follower:
    """Generation of another server. All its local readers share one buffer, which the sink fills.

    Its state is what the records say. Call `catch_up` before anything else is read from it. `on_close` is
    called once nobody has read it, or waited for it within `kept`, for a while.
    """

    def __init__(
        self,
        key: GenerationKey,
        state: LogState,
        sink: EventSink,
        services: Services,
        *,
        on_close: Callable[[Follower], None],
    ) -> None:
        """Starts to follow the log that has this state."""
        head = LogHead.decode(state.request)
        self.key = key
        self.head = head
        self.trace = NO_TRACE
        self.model_name = head.model
        self.request = head.outline(key, state.fingerprint)
        self._sink = sink
        self._services = services
        self._on_close: Callable[[Follower], None] | None = on_close
        self._known = head.admitted(
            key, LogIdentity(incarnation=state.incarnation, durability=sink.durability)
        )
        self._heir: ReadableGeneration | None = None
        self.subscribers = Subscribers(
            services.buffers.create(state.incarnation),
            services.encoder,
            self,
            on_join=self._stay,
            on_empty=self._linger,
        )
        loop = asyncio.get_running_loop()
        self.subscribers.ends_at = float("inf")
        self._changed = asyncio.Event()
        self._failure: TokenGrpcError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiting = 0
        self._task = loop.create_task(self._follow())
        self._linger()

    @property
    def state(self) -> State:
        """State of the generation."""
        return self._known.state

    @property
    def engine(self) -> str:
        """The engine that runs the generation, or the last one that did."""
        return self._known.engine

    @property
    def termination(self) -> Termination | None:
        """How the generation ended; None if it has not."""
        return self._known.termination

    @property
    def complete(self) -> bool:
        """Whether the end has arrived here."""
        return self.subscribers.complete

    @property
    def started(self) -> bool:
        """Whether an engine has accepted the request."""
        return self._known.started

    def snapshot(self) -> GenerationSnapshot:
        """Returns the state as of the last record."""
        if self._heir is not None:
            return self._heir.snapshot()
        buffer = self.subscribers.buffer
        first, last = buffer.first_sequence, buffer.last_sequence
        return structs.replace(
            self._known,
            last_sequence=last,
            first_kept_sequence=first if first <= last else 0,
            subscription_count=len(self.subscribers),
            complete=self.complete,
        )

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keeps it open for a caller that is about to read it."""
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def catch_up(self, last: int) -> None:
        """Returns when all events up to `last` are here. Raises why they cannot be read.

        Raises StoreUnavailable if none arrives for a while: a failover may have lost them.
        """
        patience = _SILENT_CALLS * self._services.sink_patience.call_timeout
        while self.subscribers.buffer.last_sequence < last:
            if self._failure is not None:
                raise self._failure
            self._changed.clear()
            try:
                async with asyncio.timeout(patience):
                    await self._changed.wait()
            except TimeoutError:
                raise StoreUnavailable("the event store is behind: try again later") from None

    def stop(self, termination: Termination) -> None:
        """Does nothing: only the owner ends a generation. See `cancel`."""

    async def cancel(self) -> None:
        """Asks the owner to cancel the generation, with retries. Raises StoreUnavailable."""
        if not self.complete:
            await self._services.sink_patience.retry(lambda: self._sink.publish_cancel(self.key))

    async def wait_ended(self) -> None:
        """Returns when the end has arrived, or cannot arrive any more."""
        while not self.complete and self._failure is None and self._heir is None:
            self._changed.clear()
            await self._changed.wait()
        if self._heir is not None:
            await self._heir.wait_ended()

    def interrupt(self, error: TokenGrpcError) -> None:
        """Ends all local readers, who may resume."""
        self._failure = without_traceback(error)
        for subscriber in self.subscribers:
            subscriber.fail(StreamInterrupted(error.message))
        self._changed.set()
        self.close()

    def hand_over(self, heir: ReadableGeneration) -> None:
        """Stops following: this server runs the generation from now on, for the same subscribers."""
        self._heir, self._on_close = heir, None
        self._task.cancel()
        self._stay()
        self._changed.set()

    def close(self) -> None:
        """Stops following, and drops all events."""
        self._task.cancel()
        self._stay()
        if self._failure is None and not self.complete:
            self._failure = StoreUnavailable("this server has stopped following the generation: try again")
        self._changed.set()
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close(self)
            if not self.subscribers:
                self.subscribers.buffer.close()

    async def _follow(self) -> None:
        delays = self._services.sink_patience.delays()
        loop, patience = asyncio.get_running_loop(), self._services.sink_patience
        deadline = loop.time() + patience.retry_time
        while not self.complete:
            last, began = self.subscribers.buffer.last_sequence, loop.time()
            try:
                async with aclosing(self._sink.follow(self.key, last)) as batches:
                    async for records in batches:
                        self._take(records)
                        delays = self._services.sink_patience.delays()
                        deadline = loop.time() + self._services.sink_patience.retry_time
            except (GenerationNotFound, LogDiverged, LogRefused, ReplayExpired) as error:
                self.interrupt(error)
                return
            except StoreUnavailable as error:
                if loop.time() - began > _SILENT_CALLS * patience.call_timeout:
                    deadline = loop.time() + patience.retry_time  # it was followed, without news
                if loop.time() > deadline:
                    self.interrupt(error)
                    return
            except Exception:
                log.exception("a log cannot be followed", generation_id=self.key.generation_id)
                self.interrupt(StoreUnavailable("the event store failed: try again later"))
                return
            if not self.complete:
                await asyncio.sleep(next(delays))

    def _take(self, records: Sequence[Record]) -> None:
        """Shows records. Those that the buffer has, after a follower began anew, are skipped."""
        buffer = self.subscribers.buffer
        records = [record for record in records if record.sequence > buffer.last_sequence]
        if not records:
            return
        for record in records:
            # In the middle of the output, the last record says all that there is to know.
            if record is records[-1] or record.kind not in JOINABLE or not self._known.timestamps.first_token:
                self._known = self._services.encoder.after_record(self._known, record)
        buffer.append(records)
        if records[-1].kind is RecordKind.FINISHED:
            self.subscribers.end()
            self._linger()
        self._changed.set()

    def _stay(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _linger(self) -> None:
        if self._heir is not None:
            return  # the buffer is that of the generation, which runs here now
        if self._on_close is None:
            self.subscribers.buffer.close()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LINGER, self._expire)

    def _expire(self) -> None:
        self._timer = None
        if self.subscribers or self._waiting:
            self._linger()
        else:
            self.close()
