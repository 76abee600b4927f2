"""Acceptors of calls, beside those of grpc.aio, which accept one call of a method in a few turns of the loop.

A turn takes milliseconds when many streams run. Then a burst of calls would wait for many seconds, until past
their deadlines, before anybody could even reject them. Further acceptors accept as many more calls a turn,
but the handling of only some begins in one turn, so that running streams do not wait for a whole burst.

This uses private parts of grpc.aio; without them, its own acceptor remains. `tests/e2e/test_grpc_limits.py`
notices if they change.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

import structlog
from grpc._cython import cygrpc

from tokengrpc.rpc import accepted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import grpc

    from tokengrpc.rpc.grpc_aio import Method

_ACCEPTORS = 32
"""Acceptors of a method, each of which accepts a call in two turns: as many as are handled. With more, calls
would wait here instead of within gRPC, for longer than `max_start_wait`, and be rejected after all."""
_HANDLED_PER_TURN = 16
"""Calls whose handling begins in one turn, at least: a start takes up to a millisecond of it. Streams that
run wait for all of them."""
_HANDLED_PER_SECOND = 500
"""Further ones, by the length of the last turn: where turns are long anyway, bursts need more of each."""
_REJECTED_PER_START = 4
"""Rejections that take as long as a start, at least."""

log = structlog.get_logger(__name__)


class Acceptors:
    """Acceptors of the calls of some methods.

    `rejecting` returns whether the next start will probably be rejected.
    """

    def __init__(self, rejecting: Callable[[], bool]) -> None:
        self._rejecting = rejecting
        self._queues: dict[str, _Queue] = {}

    def start(self, server: grpc.aio.Server, methods: Mapping[str, Method]) -> None:
        """Starts accepting. The server has started, and the methods, by path, are registered with it."""
        if not _available():
            log.warning("this version of grpc.aio accepts calls one by one: bursts of calls will wait")
            return
        core: Any = server._server  # type: ignore[attr-defined]  # noqa: SLF001
        for path, method in methods.items():
            self._queues[path] = _Queue(core, path, method, self._rejecting)

    async def stop(self) -> None:
        """Returns when all acceptors have ended. The server must have been stopped, which ends them."""
        for queue in self._queues.values():
            await queue.wait_ended()
        self._queues.clear()

    def longest_wait(self, paths: Iterable[str]) -> float:
        """Returns how long, in seconds, the last accepted call of these methods can have waited at most."""
        return max((self._queues[path].longest_wait() for path in paths if path in self._queues), default=0.0)


class _Queue:
    """Acceptors of one method, and accepted calls whose handling has not begun."""

    def __init__(
        self,
        core: Any,  # noqa: ANN401 - private to grpc.aio
        path: str,
        method: Method,
        rejecting: Callable[[], bool],
    ) -> None:
        self._core = core
        self._path = path
        self._method = method
        self._rejecting = rejecting
        self._loop = asyncio.get_running_loop()
        self._calls: set[asyncio.Task[None]] = set()
        self._accepted: deque[Any] = deque()
        self._backlog_since: float | None = None
        self._acceptors = [self._loop.create_task(self._accept()) for _ in range(_ACCEPTORS)]

    async def wait_ended(self) -> None:
        await asyncio.gather(*self._acceptors, *self._calls, return_exceptions=True)

    def longest_wait(self) -> float:
        return 0.0 if self._backlog_since is None else self._loop.time() - self._backlog_since

    async def _accept(self) -> None:
        encoded = self._path.encode()
        while self._core.is_running():
            try:
                # Handed on at once, because a variable would keep the call alive until the next one.
                self._accepted.append(await self._core._request_registered_call(encoded))  # noqa: SLF001
            except cygrpc._RequestCallError:  # noqa: SLF001
                return  # the server has stopped
            if len(self._accepted) == 1:
                self._loop.call_soon(self._turn, self._loop.time())

    def _turn(self, last: float) -> None:
        """Handles some calls, and the others in the next turns. `last` is when the last turn began."""
        now = self._loop.time()
        most = _HANDLED_PER_TURN * (_REJECTED_PER_START if self._rejecting() else 1)
        most += int(_HANDLED_PER_SECOND * (now - last))
        for _ in range(min(most, len(self._accepted))):
            self._handle(self._accepted.popleft())
        if not self._accepted:
            self._backlog_since = None
            return
        if self._backlog_since is None:
            self._backlog_since = last
        self._loop.call_soon(self._turn, now)

    def _handle(self, state: Any) -> None:  # noqa: ANN401 - private to grpc.aio
        task = self._loop.create_task(accepted.serve(self._method, state))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)


def _available() -> bool:
    """Returns whether this version of grpc.aio has the private parts."""
    names = ("_RequestCallError", *accepted.NEEDED)
    return hasattr(cygrpc.AioServer, "_request_registered_call") and all(
        hasattr(cygrpc, name) for name in names
    )
