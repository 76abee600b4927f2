"""Reads the metrics pages of several servers, each on a thread, so that one that hangs delays no other."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING, NamedTuple

from tokengrpc.cli.top.servers.samples import NoMetrics, Sample, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TIMEOUT = 5.0
"""Seconds that a server has to connect, and then to answer. Its admin port serves a request for as long."""
_MAX_BYTES = 16 << 20
"""Bytes of a page that are read. A page of 200 tenants has less than one MiB for each model."""


class Address(NamedTuple):
    """An admin port."""

    host: str
    port: int


class Unreachable(Exception):
    """Admin port that does not answer with metrics. The message says why, in a few words."""


@dataclass(frozen=True, slots=True)
class Polled:
    """What polling a server brought: a sample, or the reason why there is none.

    `at` and `wall` are the time of a monotonic and of the wall clock, in seconds.
    """

    number: int
    result: Sample | str
    at: float
    wall: float


def fetch(address: Address, timeout: float = TIMEOUT) -> Sample:
    """Reads the metrics of a server. Raises Unreachable."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=timeout)
    try:
        connection.connect()
        return parse(_page(connection, timeout), time.monotonic())
    except NoMetrics as error:
        raise Unreachable(str(error)) from None
    except TimeoutError:
        raise Unreachable(f"no answer within {timeout:g} s") from None
    except ConnectionRefusedError:
        raise Unreachable("nothing listens there") from None
    except http.client.RemoteDisconnected:
        raise Unreachable("it closed the connection") from None
    except (http.client.HTTPException, ValueError):  # a ValueError is a length below zero
        raise Unreachable("it does not speak HTTP: this is no admin port") from None
    except OSError as error:
        raise Unreachable(error.strerror or str(error)) from None
    finally:
        connection.close()


def _page(connection: http.client.HTTPConnection, timeout: float) -> str:
    """Reads the page. Raises Unreachable, and TimeoutError however slowly the server sends, byte by byte."""
    late = threading.Event()
    peer = connection.sock  # the connection gives it away with its response

    def end() -> None:
        late.set()
        with suppress(OSError):
            peer.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(timeout, end)
    timer.daemon = True
    timer.start()
    try:
        connection.request("GET", "/metrics", headers={"Connection": "close"})
        response = connection.getresponse()
        body = response.read(_MAX_BYTES + 1)
    except (http.client.HTTPException, OSError):
        if late.is_set():
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()
    if late.is_set():
        raise TimeoutError
    if response.status != http.HTTPStatus.OK:
        raise Unreachable(f"HTTP {response.status}: this is no admin port")
    if len(body) > _MAX_BYTES:
        raise Unreachable(f"its page is larger than {_MAX_BYTES >> 20} MiB")
    return body.decode(errors="replace")


@dataclass(slots=True)
class Poller:
    """Polls servers from `start` to `stop`. Results come in `results`; `notify` is called after each one."""

    addresses: Sequence[Address]
    interval: float
    notify: Callable[[], None] = lambda: None
    results: SimpleQueue[Polled] = field(default_factory=SimpleQueue)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Starts a thread for each server. They end with the process, even if a server hangs."""
        for number in range(len(self.addresses)):
            threading.Thread(target=self._poll, args=(number,), name=f"poll-{number}", daemon=True).start()

    def stop(self) -> None:
        """Stops polling, without waiting for requests that are on their way."""
        self._stopped.set()

    def _poll(self, number: int) -> None:
        due = time.monotonic()
        while not self._stopped.is_set():
            result: Sample | str
            try:
                result = fetch(self.addresses[number])
            except Unreachable as error:
                result = str(error)
            now = time.monotonic()
            self.results.put(Polled(number, result, now, time.time()))
            self.notify()
            due = max(due + self.interval, now)
            self._stopped.wait(due - now)
