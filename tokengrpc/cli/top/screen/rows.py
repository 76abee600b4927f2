"""The rows of the tables: models with their engines, servers, and errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from tokengrpc.cli.sparkline import sparkline
from tokengrpc.cli.top.screen.columns import FIGURES
from tokengrpc.cli.top.screen.table import Row, Style
from tokengrpc.cli.top.screen.units import age, clock, latency, quantity
from tokengrpc.cli.top.servers import series
from tokengrpc.cli.top.servers.figures import KINDS, Figures
from tokengrpc.cli.top.servers.history import MINUTE, State
from tokengrpc.escaping import escape_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tokengrpc.cli.top.screen.view import View
    from tokengrpc.cli.top.servers.figures import Report
    from tokengrpc.cli.top.servers.history import History

T = TypeVar("T", bound=Figures)

_NONE = Figures()


def model_rows(made: Report, slots: Sequence[Report], view: View, bars: str) -> list[Row]:
    """Returns a row for each model, and for each of its engines, in the order of the view.

    An only engine that has the name of its model has no row of its own.
    """
    rows: list[Row] = []
    for name, model in _in_order(made.models, view):
        engines = {} if list(model.engines) == [name] else model.engines
        shown = engines if view.matches(name) else {it: engines[it] for it in engines if view.matches(it)}
        if not shown and not view.matches(name):
            continue
        past = [slot.models.get(name) for slot in slots]
        rows.append(_model_row(name, model, _rates(past, slots, bars)))
        for engine, figures in _in_order(shown, view):
            of_engine = [it.engines.get(engine) if it is not None else None for it in past]
            rows.append(_model_row(f"  {engine}", figures, _rates(of_engine, slots, bars), engine=True))
    return rows


def server_rows(made: Report, histories: Sequence[History], view: View, wall: float) -> list[Row]:
    """Returns a row for each server, in the order of the view."""
    servers = {history.address: history for history in histories if view.matches(history.address)}
    figures = dict(zip((history.address for history in histories), made.servers, strict=True))
    rows = []
    for address, of_server in _in_order({address: figures[address] for address in servers}, view):
        history = servers[address]
        cells = [""] * (len(FIGURES) + 2)
        if history.sample is not None:
            lag = history.sample.gauge(series.LOOP_LAG)
            cells = [*_cells(of_server), latency(lag), age(history.uptime(wall))]
        cells.append(state_text(history))
        rows.append(Row(address, cells, _style_of(history.state)))
    return rows


def error_rows(made: Report) -> list[Row]:
    """Returns a row for each reason, the most frequent first."""
    rows = []
    for reason, kinds in sorted(made.total.errors.items(), key=lambda it: (-sum(it[1].values()), it[0])):
        counts = [round(kinds.get(kind, 0.0)) for kind in KINDS]
        if any(counts):
            rows.append(Row(escape_line(reason), [quantity(count) if count else "" for count in counts]))
    return rows


def state_text(history: History) -> str:
    """Formats the state of a server: if it is not normal, with its time and cause."""
    if history.state is State.SERVING or not history.since:
        return history.state
    cause = f": {history.error}" if history.state is State.UNREACHABLE else ""
    return f"{history.state} since {clock(history.since)}{cause}"


def alerts(history: History, wall: float) -> Iterator[tuple[str, Style]]:
    """Yields a text for everything about a server that needs a look, with its style."""
    if history.state not in {State.SERVING, State.CONNECTING}:
        yield f"{history.address} {state_text(history)}", _style_of(history.state)
    if history.restarted is not None and wall - history.restarted < MINUTE:
        yield f"{history.address} was restarted before {clock(history.restarted)}", Style.BOLD
    gauges = history.sample.gauges if history.sample is not None else {}
    for (name, labels), value in gauges.items():
        if name == series.STORE_AVAILABLE and not value:
            yield f"{history.address} cannot reach its store {escape_line(labels[0])}", Style.ALERT


def _style_of(state: State) -> Style:
    if state in {State.UNREACHABLE, State.FROZEN}:
        return Style.ALERT
    return Style.PLAIN if state is State.SERVING else Style.BOLD


def _model_row(name: str, figures: Figures, rates: str, *, engine: bool = False) -> Row:
    style = Style.ALERT if figures.breakers.get("open") or figures.unready else Style.PLAIN
    return Row(escape_line(name), [*_cells(figures, engine=engine), _breakers(figures), rates], style)


def _cells(figures: Figures, *, engine: bool = False) -> list[str]:
    return [it.text(it.value(figures)) if it.of_engines or not engine else "" for it in FIGURES.values()]


def _breakers(figures: Figures) -> str:
    """Formats the states of circuit breakers: `closed`, or how many of them are not.

    A model may be unready although they are closed, because its engines are silent.
    """
    total = round(sum(figures.breakers.values()))
    if figures.unready and figures.breakers.get("closed") == total:
        return "unready"
    for state, word in (("open", "open"), ("half_open", "half")):
        if count := round(figures.breakers.get(state, 0.0)):
            return word if count == total else f"{word} {count}/{total}"
    return "closed" if total else ""


def _rates(past: Sequence[Figures | None], slots: Sequence[Report], bars: str) -> str:
    """Draws the tokens per second of a group, whose figures in each slot are `past`."""
    rates = [
        (figures or _NONE).rates.get(series.TOKENS, 0.0) if slot.seconds is not None else None
        for figures, slot in zip(past, slots, strict=True)
    ]
    return sparkline(rates, len(rates), bars)


def _in_order(groups: Mapping[str, T], view: View) -> list[tuple[str, T]]:
    """Returns groups by name, or by the figure of the view's column, the largest first."""
    figure = FIGURES.get(view.sort)
    if figure is None:
        return sorted(groups.items(), key=lambda it: it[0], reverse=view.reverse)
    by_name = sorted(groups.items(), key=lambda it: it[0])
    return sorted(by_name, key=lambda it: figure.value(it[1]) or 0.0, reverse=not view.reverse)
