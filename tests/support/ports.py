"""Ports of servers that start later, or start again."""

from __future__ import annotations

import socket


def reserved_port() -> int:
    """Returns a port on which only a server gets that names it, as long as this process runs.

    Connections to it are refused until then. A port that was merely free a moment ago may be anybody's when
    it is needed. This one stays bound, without listening: the system gives it to nobody, and a server can
    bind it as well, because nearly all of them set SO_REUSEADDR.
    """
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    place.bind(("127.0.0.1", 0))
    port = int(place.getsockname()[1])
    place.detach()
    return port
