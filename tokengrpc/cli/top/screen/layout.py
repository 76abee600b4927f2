"""The whole screen, as lines of text for a width and a height. Pure: figures go in, lines come out."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from tokengrpc.cli.sparkline import bars_for, can_encode, sparkline
from tokengrpc.cli.top.screen.columns import NAME, OF_ERRORS, OF_MODELS, OF_SERVERS
from tokengrpc.cli.top.screen.rows import alerts, error_rows, model_rows, server_rows
from tokengrpc.cli.top.screen.table import Style, columns_of, cut, fit, table
from tokengrpc.cli.top.screen.units import age, clock, latency, quantity
from tokengrpc.cli.top.screen.view import help_lines
from tokengrpc.cli.top.servers import series
from tokengrpc.cli.top.servers.history import State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokengrpc.cli.top.screen.table import Line
    from tokengrpc.cli.top.screen.view import View
    from tokengrpc.cli.top.servers.figures import Report
    from tokengrpc.cli.top.servers.history import History
    from tokengrpc.cli.top.servers.watch import Watch

_HIGH = 16
"""Rows from which a screen has sparklines of the totals."""
_COMMAND = "tokengrpc top  "


@dataclass(frozen=True, slots=True)
class Symbols:
    """Characters that not every encoding has."""

    bars: str
    ellipsis: str

    @classmethod
    def of(cls, encoding: str) -> Symbols:
        """Returns those of an encoding, or ASCII."""
        return cls(bars_for(encoding), "…" if can_encode("…", encoding) else "~")


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """What is shown: a report, one of each part of the last minute, the servers, and the time."""

    made: Report
    slots: Sequence[Report]
    histories: Sequence[History]
    wall: float
    symbols: Symbols
    width: int

    @classmethod
    def of(cls, watch: Watch, made: Report, *, width: int, encoding: str) -> Self:
        """Returns the screen of a report, now, for a terminal of a width and an encoding."""
        return cls(
            made=made,
            slots=watch.slots(),
            histories=watch.histories,
            wall=time.time(),
            symbols=Symbols.of(encoding),
            width=width,
        )

    def lines(self, view: View, height: int) -> tuple[list[Line], View]:
        """Returns `height` lines for a terminal, and the view, which is not scrolled beyond the last row."""
        if view.help:
            return self._scrolled([self._title(), []], self._help(), view, height)
        high = height >= _HIGH
        top = [self._title(), self._totals(), *(self._sparklines() if high else [])]
        if not view.servers or len(self.histories) > 1:
            top += self._alerts(max(1, height // 6))
        top += [[]] if high else []
        left = height - len(top) - 1
        errors = self._errors()
        room = min(len(errors), max(2, left // 3)) if errors else 0
        gap = bool(room and high)
        titles, *rows = self._table(view)
        below = [*([[]] if gap else []), *errors[:room]]
        return self._scrolled([*top, titles], rows, view, height, below)

    def plain(self, view: View) -> list[Line]:
        """Returns lines for a pipe or a terminal that cannot move its cursor: everything, once."""
        parts = [
            [self._title(), self._totals(), *self._sparklines(), *self._alerts(len(self.histories) * 2)],
            self._table(view),
            self._table(replace(view, servers=not view.servers)) if len(self.histories) > 1 else [],
            self._errors(),
        ]
        return [line for part in parts if part for line in ([], *part)][1:]

    def _scrolled(
        self, above: list[Line], rows: list[Line], view: View, height: int, below: Sequence[Line] = ()
    ) -> tuple[list[Line], View]:
        """Returns lines with the keys at the bottom, and as many rows as there is room for, as scrolled."""
        room = max(0, height - len(above) - len(below) - 1)
        view = replace(view, first=min(view.first, max(0, len(rows) - room)))
        shown = rows[view.first : view.first + room]
        shown += [[]] * (room - len(shown))
        return [*[*above, *shown, *below][: height - 1], self._foot(view)], view

    def _title(self) -> Line:
        """Returns the line of the servers' states, the time that was observed, and the wall-clock time."""
        if len(self.histories) == 1:
            history = self.histories[0]
            uptime = history.uptime(self.wall)
            up = f", up {age(uptime)}" if uptime is not None else ""
            what = f"{history.address}  {history.state}{up}"
        else:
            states = Counter(history.state for history in self.histories)
            listed = ", ".join(f"{states[state]} {state}" for state in State if states[state])
            what = f"{len(self.histories)} servers: {listed}"
        now = f"  {clock(self.wall)}"
        over = f"  over {self.made.seconds:.0f} s" if round(self.made.seconds or 0) else ""
        free = self.width - len(what) - len(now)
        if len(over) <= free:
            now = over + now
            free -= len(over)
        if free >= len(_COMMAND):
            what = _COMMAND + what
        return [(fit(what, max(0, self.width - len(now)), self.symbols.ellipsis) + now, Style.TITLE)]

    def _totals(self) -> Line:
        total = self.made.total
        parts = [
            f"streams {quantity(total.gauge(series.READERS))}",
            f"running {quantity(total.gauge(series.RUNNING))}",
            f"queued {quantity(total.gauge(series.WAITING))}",
            f"started {quantity(total.rates.get(series.ADMITTED, 0.0))}/s",
            f"failed {quantity(total.failed)}",
            f"cancelled {quantity(total.cancelled)}",
        ]
        return [(self._joined(parts), Style.PLAIN)]

    def _sparklines(self) -> list[Line]:
        """Returns a line each for tokens per second, time to first token and inter-token latency."""
        total = self.made.total
        observed = [slot.total if slot.seconds is not None else None for slot in self.slots]
        rates = [it.rates.get(series.TOKENS, 0.0) if it is not None else None for it in observed]
        lines = [self._sparkline("tokens/s", quantity(total.rates.get(series.TOKENS, 0.0)), rates, quantity)]
        for name, histogram in (("TTFT", series.FIRST_TOKEN), ("ITL", series.INTER_TOKEN)):
            p50, p99 = (latency(total.quantile(histogram, share)) for share in (0.5, 0.99))
            past = [slot.total.quantile(histogram, 0.99) for slot in self.slots]
            lines.append(self._sparkline(name, f"p50 {p50:<7} p99 {p99}", past, latency))
        return lines

    def _sparkline(
        self, name: str, now: str, past: Sequence[float | None], text: Callable[[float], str]
    ) -> Line:
        figures = f"{name:<8}  {now:<23} "
        bars = sparkline(past, max(0, self.width - len(figures)), self.symbols.bars)
        most = max((value for value in past if value is not None), default=None)
        scale = f" up to {text(most)}" if most else ""
        fits = len(figures) + len(bars) + len(scale) <= self.width
        return [
            (cut(figures, self.width, self.symbols.ellipsis), Style.PLAIN),
            (bars + scale * fits, Style.DIM),
        ]

    def _alerts(self, most: int) -> list[Line]:
        """Returns a line for each server that needs a look, at most so many."""
        lines = [line for history in self.histories for line in alerts(history, self.wall)]
        if len(lines) > most:
            lines[most - 1 :] = [(f"{len(lines) - most + 1} more lines: see the servers (s)", Style.ALERT)]
        return [[(cut(text, self.width, self.symbols.ellipsis), style)] for text, style in lines]

    def _table(self, view: View) -> list[Line]:
        if view.servers:
            title, columns = "SERVER", OF_SERVERS
            rows = server_rows(self.made, self.histories, view, self.wall)
        else:
            title, columns = "MODEL", OF_MODELS
            rows = model_rows(self.made, self.slots, view, self.symbols.bars)
        marked = title if view.sort == NAME else view.sort
        return table((title, columns), rows, width=self.width, ellipsis=self.symbols.ellipsis, marked=marked)

    def _errors(self) -> list[Line]:
        rows = error_rows(self.made)
        heads = ("ERRORS", OF_ERRORS)
        return table(heads, rows, width=self.width, ellipsis=self.symbols.ellipsis) if rows else []

    def _help(self) -> list[Line]:
        lines: list[Line] = []
        for keys, meaning in help_lines():
            lines.append([(cut(f"{keys:<10} {meaning}", self.width, self.symbols.ellipsis), Style.PLAIN)])
        return lines

    def _foot(self, view: View) -> Line:
        """Returns the line of keys; while a filter is typed, the filter."""
        if view.typing:
            return [
                (self._joined([f"filter: {view.filter}_", "Enter keeps it", "Esc removes it"]), Style.BOLD)
            ]
        parts = [
            "q quit",
            "? help",
            f"<> sort: {view.sort}{' reversed' if view.reverse else ''}",
            f"/ filter: {view.filter}" if view.filter else "/ filter",
            "s models" if view.servers else "s servers",
            "w interval" if view.minute else "w minute",
        ]
        return [(self._joined(parts), Style.DIM)]

    def _joined(self, parts: Sequence[str]) -> str:
        """Returns as many parts as fit into a line, but at least the first one, cut."""
        text = parts[0]
        for part in parts[1:]:
            if columns_of(text) + 2 + columns_of(part) > self.width:
                break
            text += f"  {part}"
        return cut(text, self.width, self.symbols.ellipsis)
