"""The figures of a crowd over all its processes, and the tables of `bench.scale`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from rich.table import Table

from bench.gaps import Percentiles

_REFUSAL_MS: Final = 100.0
_GAP_RATIO: Final = 1.2
_COLUMNS: Final = 4


@dataclass(kw_only=True)
class Row:
    """The figures of one crowd. Pairs are p50 and p99, in milliseconds, unless a comment says otherwise."""

    name: str
    calls: int
    completed: int
    overloaded: int
    causes: Counter[str]
    bare: Counter[str]
    others: Counter[str]
    refused_ms: tuple[float, float]
    delays_s: tuple[float, float, int]
    """The shortest and the longest delay that was told, and the number of different ones."""
    first_token_ms: tuple[float, float]
    gap_ms: tuple[float, float]
    lag_ms: tuple[float, float]
    """The p99 and the maximum of the clients' own lag, which is part of all other times."""
    server_cores: float
    call_us: float = 0.0
    """The server's CPU time for a call, in microseconds."""
    is_floor: bool = False
    """Whether it is what a bare server can do on this machine: no target holds for it."""
    kib_a_stream: float = 0.0
    engine_gap_ms: tuple[float, float] | None = None

    @property
    def broken(self) -> list[str]:
        """What no load may cause: calls that ended without `finished` and without a reason."""
        return [
            f"{self.name}: {count} calls ended with {code} and nothing else"
            for code, count in self.bare.items()
        ]

    @property
    def missed(self) -> list[str]:
        """Targets that were missed."""
        if self.is_floor:
            return []
        found = [f"{self.name}: {count} calls ended with {told}" for told, count in self.others.items()]
        if self.refused_ms[1] > _REFUSAL_MS:
            p99 = self.refused_ms[1]
            found.append(f"{self.name}: OVERLOADED p99 {p99:.0f} ms; the target is {_REFUSAL_MS:g}")
        if self.engine_gap_ms is not None and self.gap_ms[1] > _GAP_RATIO * self.engine_gap_ms[1]:
            ratio = self.gap_ms[1] / self.engine_gap_ms[1]
            found.append(
                f"{self.name}: gap p99 is {ratio:.2f} times the engine's; the target is {_GAP_RATIO:g}"
            )
        return found


def row(name: str, calls: int, parts: list[dict[str, Any]], server_cores: float) -> Row:
    """Joins what the processes of a crowd printed."""
    lists = {
        key: [value for part in parts for value in part.get(key, [])]
        for key in ("refused_after", "delays", "first_tokens")
    }
    gaps, lag = (Percentiles().merge(Percentiles(part[key]) for part in parts) for key in ("gaps", "lag"))
    delays = lists["delays"]
    return Row(
        name=name,
        calls=calls,
        completed=sum(part["completed"] for part in parts),
        overloaded=len(delays),
        causes=_joined(parts, "causes"),
        bare=_joined(parts, "bare"),
        others=_joined(parts, "others"),
        refused_ms=_pair(lists["refused_after"]),
        delays_s=(min(delays, default=0.0), max(delays, default=0.0), len(set(delays))),
        first_token_ms=_pair(lists["first_tokens"]),
        gap_ms=(gaps.at(0.5) * 1e3, gaps.at(0.99) * 1e3),
        lag_ms=(lag.at(0.99) * 1e3, lag.at(1.0) * 1e3),
        server_cores=server_cores,
    )


def _joined(parts: list[dict[str, Any]], key: str) -> Counter[str]:
    return sum((Counter(part.get(key, {})) for part in parts), Counter())


def _pair(seconds: list[float]) -> tuple[float, float]:
    """Returns the p50 and the p99, in milliseconds."""
    ordered = sorted(seconds)
    last = len(ordered) - 1
    return (ordered[last // 2] * 1e3, ordered[round(last * 0.99)] * 1e3) if ordered else (0.0, 0.0)


def tables(rows: list[Row]) -> list[Table]:
    """Returns tables with a column for each crowd, some crowds in each."""
    return [_table(rows[at : at + _COLUMNS]) for at in range(0, len(rows), _COLUMNS)]


def _table(rows: list[Row]) -> Table:
    shown = Table("", *(row.name for row in rows), title="One server, thousands of callers")

    def line(name: str, *cells: str) -> None:
        shown.add_row(name, *cells)

    line("completed", *(f"{row.completed:,} of {row.calls:,}" for row in rows))
    line("OVERLOADED", *(f"{row.overloaded:,}" for row in rows))
    line("… causes", *(", ".join(f"{name} {n:,}" for name, n in row.causes.most_common()) for row in rows))
    line("… after, p50 / p99 ms", *(_both(row.refused_ms) for row in rows))
    line(
        "… delays told, s",
        *(f"{row.delays_s[0]:.2f} to {row.delays_s[1]:.2f}, {row.delays_s[2]}" for row in rows),
    )
    for code in ("CANCELLED", "DEADLINE_EXCEEDED"):
        line(f"bare {code}", *(str(row.bare.get(code, 0)) for row in rows))
    line("other ends", *(str((row.bare + row.others).total() - _named(row)) for row in rows))
    line("first token, p50 / p99 ms", *(_both(row.first_token_ms) for row in rows))
    line("gap, p50 / p99 ms", *(_both(row.gap_ms) for row in rows))
    line("… of the engine itself", *(_both(row.engine_gap_ms) if row.engine_gap_ms else "" for row in rows))
    line(
        "server's memory, KiB a stream",
        *(f"{row.kib_a_stream:.0f}" if row.kib_a_stream else "" for row in rows),
    )
    line("server, cores", *(f"{row.server_cores:.2f}" for row in rows))
    line("… CPU µs a call", *(f"{row.call_us:,.0f}" for row in rows))
    line("clients' own lag, p99 / most ms", *(_both(row.lag_ms) for row in rows))
    return shown


def _named(row: Row) -> int:
    return row.bare.get("CANCELLED", 0) + row.bare.get("DEADLINE_EXCEEDED", 0)


def _both(pair: tuple[float, float]) -> str:
    return f"{pair[0]:,.1f} / {pair[1]:,.1f}"
