"""Compares figures with their targets, and prints them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from rich.table import Table

from bench.peers import GO, OURS, PEERS, TEXTBOOK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

# A relay sustains a rate if it delivers this share of what the engine sends.
_HOLDS = 0.95

# scenario -> relay or variant -> figures
Figures = dict[str, dict[str, dict[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One target and whether it was reached. A `ratio` does not depend on the machine's speed."""

    name: str
    target: str
    measured: str
    passed: bool
    ratio: bool = True


def middle(windows: list[dict[str, float | None]]) -> dict[str, float | None]:
    """Returns the median of each figure over all windows that have it."""
    columns = {name: [window[name] for window in windows] for name in windows[0]}
    return {
        name: _median([value for value in values if value is not None]) for name, values in columns.items()
    }


def _median(values: list[float]) -> float | None:
    return median(values) if values else None


def holds(figures: dict[str, Any]) -> bool:
    """Returns whether the rate that the engine sent was delivered."""
    return bool(figures["tokens_per_s"] >= _HOLDS * figures["sent_per_s"])


def verdicts(figures: Figures) -> list[Verdict]:
    """Returns the verdict on every target whose scenario was run."""
    judges: dict[str, Callable[[], Verdict]] = {
        "bursts": lambda: _times_less("CPU per token, bursts", figures["bursts"], 25.0),
        "paced": lambda: _times_less("CPU per token, paced", figures["paced"], 3.5),
        "flood": lambda: _flood(figures["flood"]),
        "first_token": lambda: _first_token(figures["first_token"]),
        "telemetry": lambda: _telemetry(figures["telemetry"]),
        "scaling": lambda: _scaling(figures["scaling"]),
    }
    against = [verdict for scenario in figures for verdict in _against_go(scenario, figures[scenario])]
    return [judge() for scenario, judge in judges.items() if scenario in figures] + against


def figure(scenario: str, row: dict[str, Any]) -> float:
    """Returns the figure of a relay that a scenario is about: CPU µs a token, or added ms."""
    return float(row["added_ms"] if scenario == "first_token" else row["cpu_us_per_token"])


def ratios(figures: Figures) -> dict[str, dict[str, float]]:
    """Returns tokengrpc's figure divided by that of each peer, by scenario. Below 1, tokengrpc's is less."""
    return {
        scenario: {
            peer: figure(scenario, relays[OURS]) / figure(scenario, row)
            for peer, row in relays.items()
            if peer in PEERS
        }
        for scenario, relays in figures.items()
        if OURS in relays and set(relays) & set(PEERS)
    }


def _against_go(scenario: str, relays: dict[str, dict[str, Any]]) -> Iterator[Verdict]:
    if GO in relays and scenario != "first_token":
        ratio = ratios({scenario: relays})[scenario][GO]
        name = f"CPU per token, {scenario}, against the {GO}"
        yield Verdict(name=name, target="1x at most", measured=f"{ratio:.2f}x", passed=ratio <= 1)


def _cost(figures: dict[str, Any]) -> float:
    return float(figures["cpu_us_per_token"])


def _times_less(name: str, relays: dict[str, dict[str, Any]], times: float) -> Verdict:
    ratio = _cost(relays[TEXTBOOK]) / _cost(relays[OURS])
    return Verdict(name=name, target=f"{times:g}x less", measured=f"{ratio:.1f}x", passed=ratio >= times)


def _flood(relays: dict[str, dict[str, Any]]) -> Verdict:
    ours, textbook = relays[OURS], relays[TEXTBOOK]
    ratio = _cost(textbook) / _cost(ours)
    textbook_holds = holds(textbook)
    measured = f"{_cost(ours):.0f} µs, {ratio:.1f}x" + ("" if textbook_holds else ", textbook cannot hold it")
    if not holds(ours):
        measured += f"; tokengrpc delivered {ours['tokens_per_s']:,.0f}/s"
    return Verdict(
        name="CPU per token, 10,000/s",
        target="4.5x less, or only we hold it (65 µs)",
        measured=measured,
        passed=holds(ours) and (ratio >= 4.5 or not textbook_holds),
    )


def _first_token(relays: dict[str, dict[str, Any]]) -> Verdict:
    added = relays[OURS]["added_ms"]
    others = ", ".join(f"{peer} {row['added_ms']:.2f} ms" for peer, row in relays.items() if peer in PEERS)
    measured = f"{added:.2f} ms ({others})"
    return Verdict(
        name="first token, added", target="under 3 ms", measured=measured, passed=added < 3, ratio=False
    )


def _telemetry(variants: dict[str, dict[str, Any]]) -> Verdict:
    quiet, told = (_cost(variants[name]) for name in variants)
    costs = [window["cpu_us_per_token"] for row in variants.values() for window in row["windows"]]
    spread = f"windows from {min(costs):.2f} to {max(costs):.2f}"
    return Verdict(
        name="CPU per token, logs and metrics",
        target="5 % more at most",
        measured=f"{(told / quiet - 1) * 100:+.1f} % ({quiet:.2f} to {told:.2f} µs; {spread})",
        passed=told <= 1.05 * quiet,
    )


def _scaling(variants: dict[str, dict[str, Any]]) -> Verdict:
    few, many = _cost(variants["10 streams"]), _cost(variants["1000 streams"])
    measured = f"{many / few:.2f}x ({few:.0f} to {many:.0f} µs)"
    return Verdict(
        name="CPU per token, 1,000 streams to 10",
        target="1.6x at most",
        measured=measured,
        passed=many <= 1.6 * few,
    )


def show(console: Console, figures: Figures, judged: list[Verdict], facts: dict[str, Any]) -> None:
    """Prints everything."""
    console.print(_figures_table(figures))
    if "first_token" in figures:
        console.print(_first_token_table(figures["first_token"]))
    if found := ratios(figures):
        console.print(_ratio_table(found))
    console.print(_verdict_table(judged))
    console.print(_check_line(figures))
    facts = facts | {"loadavg": " ".join(map(str, facts["loadavg"]))}
    console.print("machine: " + ", ".join(f"{name} {value}" for name, value in facts.items()), style="dim")


def _figures_table(figures: Figures) -> Table:
    title = "Medians of the windows; p50, p99: from the engine's write to the client's read; !: too slow"
    table = Table(title=title)
    columns = ("scenario", "relay", "CPU µs/token", "tokens/s", "tokens/msg", "p50 ms", "p99 ms")
    for column in (*columns, "cores: relay", "engine", "client"):
        table.add_column(column, justify="left" if column in ("scenario", "relay") else "right", no_wrap=True)
    for scenario, relays in figures.items():
        for relay, row in relays.items():
            if "cpu_us_per_token" not in row:
                continue
            rate = f"{row['tokens_per_s']:,.0f}"
            late = "" if "sent_per_s" not in row or holds(row) else " !"
            latencies = [_milliseconds(row[name]) for name in ("latency_p50_us", "latency_p99_us")]
            cores = [f"{row[name]:.2f}" for name in ("relay_cores", "engine_cores", "client_cores")]
            per_message = f"{row['tokens_per_message']:.1f}"
            table.add_row(scenario, relay, f"{_cost(row):.1f}", rate + late, per_message, *latencies, *cores)
    return table


def _milliseconds(microseconds: float | None) -> str:
    return "" if microseconds is None else f"{microseconds / 1000:,.2f}"


def _first_token_table(relays: dict[str, dict[str, Any]]) -> Table:
    table = Table(title="Time to first token, one request at a time")
    for column in ("relay", "engine itself ms", "through the relay ms", "p99 ms", "added ms"):
        table.add_column(column, justify="left" if column == "relay" else "right")
    for relay, row in relays.items():
        names = ("direct_ms", "relayed_ms", "relayed_p99_ms", "added_ms")
        table.add_row(relay, *(f"{row[name]:.2f}" for name in names))
    return table


def _ratio_table(found: dict[str, dict[str, float]]) -> Table:
    table = Table(title="tokengrpc / peer: CPU per token; of first_token, the added time")
    table.add_column("scenario")
    peers = [peer for peer in PEERS if any(peer in row for row in found.values())]
    for peer in peers:
        table.add_column(peer, justify="right")
    for scenario, row in found.items():
        table.add_row(scenario, *(f"{row[peer]:.3f}" if peer in row else "" for peer in peers))
    return table


def _verdict_table(judged: list[Verdict]) -> Table:
    table = Table(title="Targets")
    for column in ("what", "target", "measured", ""):
        table.add_column(column)
    for verdict in judged:
        mark = "[green]pass[/green]" if verdict.passed else "[red]miss[/red]"
        table.add_row(verdict.name, verdict.target, verdict.measured, mark)
    return table


def checks(figures: Figures) -> dict[str, int]:
    """Returns the sums of the load client's comparisons with the engine's scripts."""
    rows = [row["check"] for relays in figures.values() for row in relays.values()]
    return {
        name: sum(row[name] for row in rows) for name in ("tokens", "whole_streams", "cut_streams", "wrong")
    }


def _check_line(figures: Figures) -> str:
    sums = checks(figures)
    line = f"{sums['whole_streams']:,} streams whole and right, token by token ({sums['tokens']:,} tokens)"
    if sums["cut_streams"]:
        line += (
            f"; {sums['cut_streams']:,} of a relay that was too slow were cut off, right as far as they came"
        )
    if not sums["wrong"]:
        return line + "; none lost, none doubled"
    complaints = [
        f"{scenario}, {relay}: {complaint}"
        for scenario, relays in figures.items()
        for relay, row in relays.items()
        for complaint in row["check"]["complaints"]
    ]
    return "\n".join([line, f"[red]{sums['wrong']} streams were wrong:[/red]", *complaints])


def as_json(figures: Figures, judged: list[Verdict], facts: dict[str, Any]) -> dict[str, Any]:
    """Returns all figures and verdicts for JSON."""
    targets = [asdict(verdict) for verdict in judged]
    return {"machine": facts, "targets": targets, "ratios": ratios(figures), "figures": figures}
