"""The screen: what fits into it, in which order rows are, and what keys change."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from wcwidth import wcswidth

from tokengrpc.cli.sparkline import ASCII_BARS, BARS, sparkline
from tokengrpc.cli.top.screen.layout import Screen, Symbols
from tokengrpc.cli.top.screen.units import age, latency, quantity
from tokengrpc.cli.top.screen.view import KEYS, SORTED_BY, View, press
from tokengrpc.cli.top.servers import series
from tokengrpc.cli.top.servers.figures import report
from tokengrpc.cli.top.servers.history import History
from tokengrpc.cli.top.servers.samples import Sample

MODELS = {
    "llama": ("gpu-1", "gpu-2"),
    "qwen-with-a-name-that-is-longer-than-a-column": ("q",),
    "漢字モデル": ("漢",),
}
LONG = "qwen-with-a-name-that-is-lo…"
SIZES = [(20, 5), (40, 10), (60, 15), (80, 24), (132, 50)]
WALL = 1_800_000_000.0


def sample(at: float) -> Sample:
    """Returns a sample in which the second model is the fastest, and the third has an open breaker."""
    gauges = {(series.DRAINING, ()): 0.0, (series.STORE_AVAILABLE, ("ledger",)): 0.0}
    counters = {(series.CALL_ERRORS, ("OVERLOADED",)): 12 * at}
    for number, (model, engines) in enumerate(MODELS.items()):
        gauges |= {(series.READERS, (model,)): 3.0 - number, (series.MODEL_READY, (model,)): 1.0}
        for engine in engines:
            state = "open" if number == 2 else "closed"
            gauges[series.BREAKER_STATE, (model, engine, state)] = 1.0
            counters[series.TOKENS, (model, engine)] = at * (100 if number == 1 else 10 + len(engine))
            counters[series.ENGINE_ERRORS, (model, engine, "ENGINE_LOST")] = at
            counters[series.INTER_TOKEN, (model, engine, "0.01")] = at * 10
            counters[series.INTER_TOKEN, (model, engine, "+Inf")] = at * 10
    return Sample(at, counters, gauges)


@pytest.fixture
def screen() -> Screen:
    """Two servers, of which the second one cannot be reached."""
    first, second = History("10.0.0.1:9090"), History("10.0.0.2:9090")
    first.add(sample(0.0), WALL - 5)
    first.add(sample(5.0), WALL)
    second.fail("nothing listens there", 5.0, WALL)
    histories = [first, second]
    made = report(histories, History.last)
    symbols = Symbols.of("utf-8")
    return Screen(made=made, slots=[made] * 12, histories=histories, wall=WALL, symbols=symbols, width=80)


def texts(screen: Screen, view: View, rows: int = 24) -> list[str]:
    return ["".join(text for text, _ in line) for line in screen.lines(view, rows)[0]]


def names(screen: Screen, view: View) -> list[str]:
    """Returns the first word of each row of the table."""
    lines = texts(screen, view)
    first = next(number for number, line in enumerate(lines) if line.startswith(("MODEL", "SERVER")))
    return [line.split()[0] for line in lines[first + 1 : lines.index("", first)]]


@pytest.mark.parametrize(("columns", "rows"), SIZES)
@pytest.mark.parametrize("view", [View(), View(servers=True), View(help=True), View(typing=True, filter="a")])
def test_it_fits_every_size(screen: Screen, columns: int, rows: int, view: View) -> None:
    """It has as many lines as the terminal, none of which is wider. Wide characters count twice."""
    lines = texts(replace(screen, width=columns), view, rows)
    assert len(lines) == rows
    assert max(map(wcswidth, lines)) <= columns


def test_a_large_screen_has_everything(screen: Screen) -> None:
    """Models with their engines, errors by what failed, and what needs a look."""
    shown = "\n".join(texts(replace(screen, width=132), View(), 40))
    for pattern in (
        "2 servers: 1 serving, 1 unreachable",
        "10.0.0.2:9090 unreachable since ",
        "10.0.0.1:9090 cannot reach its store ledger",
        "qwen-with-a-name-that-is-longer-than-a-column",
        "  gpu-1",
        "OVERLOADED +60 +$",
        "ENGINE_LOST +20 +$",
        BARS[-1] * 12,
    ):
        assert re.search(pattern, shown, re.MULTILINE), pattern


def test_rows_are_sorted_by_a_column(screen: Screen) -> None:
    """By name, or the largest value first; engines within their model."""
    assert names(screen, View()) == ["llama", "gpu-1", "gpu-2", LONG, "q", "漢字モデル", "漢"]
    by_rate = press(press(press(press(View(), ">"), ">"), ">"), "KEY_RIGHT")
    assert by_rate.sort == "TOKENS/S"
    assert names(screen, by_rate)[0] == LONG
    assert names(screen, press(by_rate, "r"))[0] == "漢字モデル"
    assert press(View(), "<").sort == SORTED_BY[-1]


def test_a_filter_keeps_models_and_engines(screen: Screen) -> None:
    """A model whose name matches has all its engines; of others, the engines that match are shown."""
    view = View()
    for key in "/LLam":
        view = press(view, key)
    assert names(screen, view) == ["llama", "gpu-1", "gpu-2"]
    view = press(press(view, "KEY_BACKSPACE"), "KEY_ENTER")
    assert (view.filter, view.typing) == ("LLa", False)
    assert names(screen, replace(view, filter="gpu-2")) == ["llama", "gpu-2"]
    assert press(view, "KEY_ESC").filter == ""


def test_an_unready_model_is_shown(screen: Screen) -> None:
    """Its engines may be silent although their circuit breakers are closed."""
    screen.made.models["llama"].add_gauge(series.MODEL_READY, {}, 0.0)
    rows = [line.split() for line in texts(screen, View()) if line.split()[:1] in (["llama"], ["gpu-1"])]
    assert [row[-1] for row in rows] == ["unready", "closed"]


def test_rows_scroll_to_the_last_one(screen: Screen) -> None:
    """And no further, so that the next key upwards has an effect."""
    view = View()
    for _ in range(9):
        view = screen.lines(press(view, "KEY_NPAGE"), 10)[1]
    lines = texts(screen, view, 10)
    assert lines[6].startswith("  漢")
    assert view.first == 4
    assert texts(screen, press(view, "KEY_UP"), 10)[6] == lines[5]


def test_the_servers_have_rows(screen: Screen) -> None:
    """With their state, and no figures while they are away."""
    row = next(line for line in texts(screen, View(servers=True)) if line.startswith("10.0.0.2:9090  "))
    assert row.split()[1] == "unreachable"


def test_every_key_is_in_the_help(screen: Screen) -> None:
    """On one screen of 24 rows; on a smaller one, it scrolls."""
    lines = texts(screen, View(help=True))
    assert all(any(meaning in line for line in lines) for _, meaning, _ in KEYS)
    view = screen.lines(View(help=True, first=99), 10)[1]
    assert KEYS[-1][1] in "\n".join(texts(screen, view, 10))


def test_symbols_fall_back_to_ascii(screen: Screen) -> None:
    """Those that the program adds. Names are left to the terminal."""
    symbols = Symbols.of("ascii")
    lines = texts(replace(screen, symbols=symbols, width=60), View(filter="qwen"))
    assert all(line.isascii() for line in lines)
    assert symbols.bars == ASCII_BARS


def test_unknown_values_are_gaps() -> None:
    """In a sparkline; zeros are its lowest bars."""
    assert sparkline([None, 0.0, 1.0, None], 4) == " ▁█ "
    assert sparkline([None, None], 2) == "  "


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (0.04, "0.0"),
        (3.25, "3.2"),
        (9.99, "10"),
        (1234, "1234"),
        (12_345, "12.3k"),
        (2.5e6, "2.5M"),
    ],
)
def test_quantities_are_short(number: float, text: str) -> None:
    assert quantity(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.0004, "0.4 ms"), (0.012, "12 ms"), (0.9996, "1.00 s"), (9.999, "10 s"), (640, "640 s")],
)
def test_latencies_have_a_unit(seconds: float | None, text: str) -> None:
    assert latency(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (9, "9s"), (61, "1m"), (3_660, "1h1m"), (90_000, "1d1h")]
)
def test_ages_have_two_units_at_most(seconds: float | None, text: str) -> None:
    assert age(seconds) == text
