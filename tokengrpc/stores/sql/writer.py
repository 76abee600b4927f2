"""The writer thread: gathers what is to be written, and writes each group in one transaction."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import structlog

from tokengrpc.core.ports.ledger import RecordRefused
from tokengrpc.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Waiting = tuple["Work", asyncio.Future[None]]

Work = TypeVar("Work")

_GROUP = 256
"""Most works in one transaction: some 10 ms of it."""

_TURN = 8
"""Most callers that go on in one turn of the loop: each may have a whole answer to write."""

log = structlog.get_logger(__name__)


class GroupWriter(Generic[Work]):
    """A thread that writes groups of works, in order. While it writes one group, the next one gathers.

    After a group, the next one gathers for `rest()` seconds more, so that groups are larger and fewer. A work
    that comes later is written at once, unless it is patient: then within `patience()` seconds, with the
    first work that is not.

    `write` is called on the thread with one group, and raises or writes all of it. If the database refuses a
    value in a group, the group is written in halves, so that only the work at fault fails.
    """

    def __init__(
        self,
        name: str,
        write: Callable[[Sequence[Work]], None],
        rest: Callable[[], float] = lambda: 0.0,
        patience: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._write = write
        self._rest = rest
        self._patience = patience
        # When the next group is written if one of its works is urgent, and if none is.
        self._ready_at = self._patient_until = 0.0
        self._urgent = False
        self._waiting: deque[Waiting[Work]] = deque()
        self._more = threading.Condition()
        self.closed = False
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Number of works in the queue."""
        return len(self._waiting)

    async def do(self, work: Work, *, patient: bool = False) -> None:
        """Returns once a work has been committed. Raises StoreUnavailable.

        If the caller is cancelled, the work is not done, or was done already.
        """
        done: asyncio.Future[None] = self._loop.create_future()
        with self._more:
            if self.closed:
                raise StoreUnavailable("the usage ledger is closed")
            # While a database hangs, callers give up in the order in which they came.
            while self._waiting and self._waiting[0][1].cancelled():
                self._waiting.popleft()
            self._waiting.append((work, done))
            if patient and len(self._waiting) == 1:
                self._patient_until = time.monotonic() + self._patience()
            hurries = not (patient or self._urgent)
            self._urgent |= hurries
            if hurries or len(self._waiting) in {1, _GROUP}:  # otherwise the thread has been notified
                self._more.notify()
        await done

    async def close(self) -> None:
        """Returns once everything that waits has been tried."""
        with self._more:
            self.closed = True
            self._more.notify()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while group := self._take():
            outcomes = self._try(group)
            self._ready_at = time.monotonic() + self._rest()
            with suppress(RuntimeError):  # the loop was closed without waiting
                resolved = zip(group, outcomes, strict=True)
                self._loop.call_soon_threadsafe(_resolve, self._loop, resolved)

    def _take(self) -> list[Waiting[Work]]:
        """Returns the next group; empty once the writer is closed and nothing waits."""
        while True:
            with self._more:
                self._more.wait_for(lambda: self._waiting or self.closed)
                self._gather()
                waiting = self._waiting
                taken = [waiting.popleft() for _ in range(min(len(waiting), _GROUP))]
                self._urgent = bool(waiting)
            group = [item for item in taken if not item[1].cancelled()]
            if group or not taken:
                return group

    def _gather(self) -> None:
        """Waits until the next group is to be written. Called with the lock."""
        while len(self._waiting) < _GROUP and not self.closed:
            begins = self._ready_at if self._urgent else max(self._ready_at, self._patient_until)
            left = begins - time.monotonic()
            if left <= 0:
                return
            self._more.wait(left)

    def _try(self, group: Sequence[Waiting[Work]]) -> list[StoreUnavailable | None]:
        works = [work for work, _ in group]
        try:
            self._write(works)
        except RecordRefused as error:
            if len(works) > 1:
                half = len(works) // 2
                return self._try(group[:half]) + self._try(group[half:])
            return [error]
        except StoreUnavailable as error:
            return [error] * len(works)
        except Exception:
            log.exception("unexpected error in the usage ledger")
            return [StoreUnavailable("the usage ledger failed unexpectedly")] * len(works)
        return [None] * len(works)


def _resolve(
    loop: asyncio.AbstractEventLoop,
    outcomes: Iterator[tuple[Waiting[Any], StoreUnavailable | None]],
) -> None:
    """Resolves some futures in each turn of the loop: all callers at once would pause it for all others."""
    some = list(islice(outcomes, _TURN))
    for (_, done), error in some:
        if not done.done():
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)
    if len(some) == _TURN:
        loop.call_soon(_resolve, loop, outcomes)
