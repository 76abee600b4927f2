"""The connections of one client: opened on first use, one for each process and each asyncio event loop.

gRPC's channels survive neither a fork nor, for asyncio, a change of the event loop. A client does: it may be
created at import, and used in several event loops and in forked worker processes.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Generic, TypeVar

from tokengrpc.client.local_errors import client_closed

if TYPE_CHECKING:
    from collections.abc import Callable

AnyConnection = TypeVar("AnyConnection")


class Connections(Generic[AnyConnection]):
    """Connections by process and, for the asyncio client, by event loop. Threads may share it.

    It has no lock, because a fork would copy a lock that another thread holds. Two threads that open the
    first connection at the same time both get the same one.
    """

    def __init__(self, connect: Callable[[], AnyConnection], *, by_loop: bool) -> None:
        """`connect` creates a connection for the current process and, if `by_loop`, the running loop."""
        self._connect = connect
        self._by_loop = by_loop
        self._closed = False
        self._known: dict[tuple[int, asyncio.AbstractEventLoop | None], AnyConnection] = {}

    def here(self) -> AnyConnection:
        """Returns the connection of this process and event loop. Raises TokenStreamError after `close`."""
        if self._closed:
            raise client_closed()
        place = self._place()
        known = self._known.get(place)
        if known is None:
            self._drop_closed_loops()
            known = self._known.setdefault(place, self._connect())
        return known

    def close(self) -> AnyConnection | None:
        """Makes `here` raise from now on. Returns this place's connection to close, if there is one."""
        self._closed = True
        return self._known.pop(self._place(), None)

    def _place(self) -> tuple[int, asyncio.AbstractEventLoop | None]:
        return os.getpid(), asyncio.get_running_loop() if self._by_loop else None

    def _drop_closed_loops(self) -> None:
        """Drops the connections of earlier event loops, which closes their channels."""
        # A parent process's connections stay: in a child, even closing them could block.
        for pid, loop in tuple(self._known):
            if pid == os.getpid() and loop is not None and loop.is_closed():
                del self._known[pid, loop]
