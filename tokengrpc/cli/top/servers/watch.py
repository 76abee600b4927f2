"""Several servers that are polled, with their histories and the reports that these give."""

from __future__ import annotations

from functools import partial
from math import floor
from queue import Empty
from typing import TYPE_CHECKING

from tokengrpc.cli.top.servers.figures import Report, report
from tokengrpc.cli.top.servers.history import MINUTE, History
from tokengrpc.cli.top.servers.polling import Poller

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tokengrpc.cli.top.servers.polling import Address, Polled

SHORTEST = 5.0
"""The shortest window, in seconds. Servers count the tokens of running generations about every 4 seconds."""
SLOTS = 12
"""Parts of the last minute."""
_LENGTH = MINUTE / SLOTS


class Watch:
    """Servers that are polled at an interval, in seconds. One thread may use a watch."""

    def __init__(
        self, addresses: Mapping[str, Address], interval: float, notify: Callable[[], None] = lambda: None
    ) -> None:
        """`notify` is called, on another thread, when something can be taken."""
        self.histories = [History(name, kept=max(MINUTE, interval)) for name in addresses]
        self._interval = interval
        self._poller = Poller(list(addresses.values()), interval, notify)
        self._polled = [0] * len(addresses)
        self._newest = 0.0
        self._final: dict[int, Report] = {}

    def start(self) -> None:
        """Starts polling."""
        self._poller.start()

    def stop(self) -> None:
        """Stops polling."""
        self._poller.stop()

    def take(self) -> None:
        """Takes what has arrived since the last call."""
        while True:
            try:
                self._add(self._poller.results.get_nowait())
            except Empty:
                return

    def wait_polled(self, times: int) -> None:
        """Waits until every server was polled so many times, whether or not it answered."""
        while min(self._polled) < times:
            self._add(self._poller.results.get())

    def last(self) -> Report:
        """Returns what each server counted between its last two samples."""
        return report(self.histories, History.last)

    def recent(self, *, minute: bool) -> Report:
        """Returns what servers counted within the last minute or, if not, the last interval."""
        seconds = MINUTE if minute else max(SHORTEST, self._interval)
        return self._between(self._newest - seconds, self._newest)

    def slots(self) -> list[Report]:
        """Returns what servers counted within each part of the last minute.

        They begin at fixed times, so that only the last one, which has just begun, changes. A part of which
        less than half was observed is empty, because rates over a moment say little.
        """
        first = floor(self._newest / _LENGTH) - SLOTS + 1
        self._final = {slot: part for slot, part in self._final.items() if slot >= first}
        return [self._slot(slot) for slot in range(first, first + SLOTS)]

    def _slot(self, slot: int) -> Report:
        """Returns a part of the time. It is kept once all servers that can be reached were seen after it."""
        if slot in self._final:
            return self._final[slot]
        end = (slot + 1) * _LENGTH
        part = self._between(end - _LENGTH, end)
        if (part.seconds or 0.0) < _LENGTH / 2:
            part = Report()
        seen = all(history.sample is None or history.sample.at >= end for history in self.histories)
        if seen and self._newest >= end:
            self._final[slot] = part
        return part

    def _between(self, begin: float, end: float) -> Report:
        return report(self.histories, partial(History.window, begin=begin, end=end))

    def _add(self, polled: Polled) -> None:
        history = self.histories[polled.number]
        self._polled[polled.number] += 1
        self._newest = max(self._newest, polled.at)
        if isinstance(polled.result, str):
            history.fail(polled.result, polled.at, polled.wall)
        else:
            history.add(polled.result, polled.wall)
