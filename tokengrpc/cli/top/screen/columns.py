"""The columns of the tables, and the figures in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tokengrpc.cli.top.screen.table import Column
from tokengrpc.cli.top.screen.units import latency, quantity
from tokengrpc.cli.top.servers import series
from tokengrpc.cli.top.servers.figures import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.cli.top.servers.figures import Figures

NAME = "NAME"
"""What rows are sorted by, if not by a figure."""


class Figure(NamedTuple):
    """A column of figures: its rank, the figure, its format, and whether engines have one."""

    rank: int
    value: Callable[[Figures], float | None]
    text: Callable[[float | None], str]
    of_engines: bool


def _number(value: float | None) -> str:
    return quantity(value or 0.0)


FIGURES = {
    "STREAMS": Figure(1, lambda it: it.gauge(series.READERS), _number, False),
    "RUN": Figure(5, lambda it: it.gauge(series.RUNNING), _number, True),
    "QUEUE": Figure(4, lambda it: it.gauge(series.WAITING), _number, False),
    "TOKENS/S": Figure(0, lambda it: it.rates.get(series.TOKENS, 0.0), _number, True),
    "TTFT p50": Figure(7, lambda it: it.quantile(series.FIRST_TOKEN, 0.5), latency, False),
    "TTFT p99": Figure(2, lambda it: it.quantile(series.FIRST_TOKEN, 0.99), latency, False),
    "ITL p50": Figure(8, lambda it: it.quantile(series.INTER_TOKEN, 0.5), latency, True),
    "ITL p99": Figure(3, lambda it: it.quantile(series.INTER_TOKEN, 0.99), latency, True),
}
"""Figures by title. Rows can be sorted by each of them."""

_OF_FIGURES = [Column(title, figure.rank) for title, figure in FIGURES.items()]
OF_MODELS = [*_OF_FIGURES, Column("BREAKER", 6), Column("TOKENS/S, 1 MIN", 9, left=True)]
OF_SERVERS = [*_OF_FIGURES, Column("LAG", 9), Column("UP", 6), Column("STATE", -1, left=True)]
OF_ERRORS = [Column(kind.replace("_", " ").upper(), rank) for rank, kind in enumerate(KINDS)]
