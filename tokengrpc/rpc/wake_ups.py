"""An event loop that takes all wake-ups of grpc.aio's poller thread at once.

The poller writes a byte to a socket for each operation that has ended, and grpc.aio reads one in each turn of
the loop. When turns are long, hundreds of bytes fill the socket. Then the poller blocks until three quarters
of them have been read, and meanwhile nothing of gRPC reaches the loop: no call, no message, no end of a
write.
"""

from __future__ import annotations

import socket
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVarTuple

import uvloop
from grpc._cython import cygrpc

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import FileDescriptorLike

T = TypeVarTuple("T")

_AT_ONCE = 4_096


class Loop(uvloop.Loop):
    """Event loop of a server process."""

    def add_reader(self, fd: FileDescriptorLike, callback: Callable[[*T], Any], *args: *T) -> None:
        """See `asyncio.AbstractEventLoop`."""
        if isinstance(fd, socket.socket) and _is_of_poller(callback):
            super().add_reader(fd, _take, fd, callback, *args)
        else:
            super().add_reader(fd, callback, *args)


def _is_of_poller(callback: Callable[..., Any]) -> bool:
    """Returns whether a callback reads the wake-ups: it is a method of the poller, bound to the loop."""
    method = callback.func if isinstance(callback, partial) else callback
    return isinstance(getattr(method, "__self__", None), cygrpc.PollerCompletionQueue)


def _take(wake_ups: socket.socket, callback: Callable[[*T], Any], *args: *T) -> None:
    """Reads all bytes but one, which the callback reads. It handles all operations, whatever their number."""
    waiting = len(wake_ups.recv(_AT_ONCE, socket.MSG_PEEK))
    if waiting > 1:
        wake_ups.recv(waiting - 1)
    callback(*args)
