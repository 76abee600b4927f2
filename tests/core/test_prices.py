"""Costs are exact: the sum over all kinds of tokens, rounded once, half to even."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokengrpc.core.attempts import Attempt
from tokengrpc.core.model import Cost, Usage
from tokengrpc.core.prices import Price, PriceList, Rates, divide_half_even

COUNTS = st.integers(0, 2**31 - 1)
RATES = st.integers(0, 10**12)


def rates(**more: int) -> Rates:
    given = {"input": 0, "cached_input": 0, "cache_write_input": 0, "output": 0, "reasoning": 0, **more}
    return Rates(**given)


def price(version: str, **more) -> Price:
    given = {"model": "m", "currency": "USD", "rates": rates(input=1_000_000, output=2_000_000), **more}
    return Price(version=version, **given)


def attempts(*outputs: tuple[str, int]) -> list[Attempt]:
    return [Attempt(engine=engine, server="s", began=1, output=output) for engine, output in outputs]


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Any usage, also with parts that exceed their totals, as from an engine that lies."""
    return Usage(*(draw(COUNTS) for _ in range(6)))


ALL_RATES = st.builds(Rates, **dict.fromkeys(Rates.__struct_fields__, RATES))


@given(usages(), ALL_RATES)
def test_a_cost_is_the_exact_sum_rounded_once(usage: Usage, rates: Rates) -> None:
    """Each token is priced once: cached and written input is input, reasoning is output."""
    prices = PriceList([price("v", rates=rates)])
    cached = min(usage.cached_input, usage.input)
    written = min(usage.cache_write_input, usage.input - cached)
    reasoning = min(usage.reasoning, usage.output)
    parts = {
        "input": usage.input - cached - written,
        "cached_input": cached,
        "cache_write_input": written,
        "output": usage.output - reasoning,
        "reasoning": reasoning,
        "overhead": usage.overhead,
    }
    assert parts["input"] + cached + written == usage.input
    exact = sum(Fraction(count * getattr(rates, kind), 1_000_000) for kind, count in parts.items())
    cost = prices.cost("m", usage, (), 0)
    assert cost == Cost(round(exact), "USD", "v")
    assert cost.amount_micros < 2**63


@given(usages(), ALL_RATES, st.lists(COUNTS, min_size=1, max_size=4))
def test_engines_of_one_price_cost_as_one(usage: Usage, rates: Rates, outputs: list[int]) -> None:
    """However the output is spread over them, and whether or not it adds up."""
    prices = PriceList([price("v", rates=rates)])
    spread = attempts(*((f"e{n}", output) for n, output in enumerate(outputs)))
    assert prices.cost("m", usage, spread, 0) == prices.cost("m", usage, (), 0)


@given(st.integers(0, 10**30), st.integers(1, 10**12))
def test_division_rounds_half_to_even(dividend: int, divisor: int) -> None:
    assert divide_half_even(dividend, divisor) == round(Fraction(dividend, divisor))


@pytest.mark.parametrize(("tokens", "micros"), [(1, 0), (3, 2), (5, 2), (7, 4)])
def test_halves_go_to_the_even_side(tokens: int, micros: int) -> None:
    """At half a millionth for a token: 0.5 is 0, 1.5 is 2, 2.5 is 2, 3.5 is 4."""
    prices = PriceList([price("v", rates=rates(output=500_000))])
    cost = prices.cost("m", Usage(output=tokens), (), 0)
    assert cost is not None
    assert cost.amount_micros == micros


def test_a_price_for_the_engine_precedes_that_of_the_model() -> None:
    prices = PriceList(
        [
            price("old"),
            price("new", start_ns=100),
            price("engine", engine="e", start_ns=50),
        ]
    )
    found = [
        prices.find("m", engine, time) for engine, time in (("x", 99), ("x", 100), ("e", 49), ("e", 200))
    ]
    assert [one.version for one in found if one] == ["old", "new", "old", "engine"]
    assert prices.find("other", "e", 100) is None
    assert PriceList([price("later", start_ns=1)]).find("m", "e", 0) is None


def test_a_switch_prices_each_output_by_its_engine() -> None:
    """Input and overhead have the price of the first engine with output. Reasoning comes first."""
    cheap = rates(input=1_000_000, output=10_000_000, reasoning=100_000_000, overhead=1_000_000_000)
    dear = rates(input=7_000_000, output=20_000_000, reasoning=200_000_000, overhead=7_000_000_000)
    prices = PriceList(
        [price("a", engine="a", rates=cheap), price("b", engine="b", rates=dear), price("rest")]
    )
    usage = Usage(input=3, output=10, reasoning=6, overhead=2)
    found = prices.cost("m", usage, attempts(("dead", 0), ("a", 4), ("b", 6)), 0)
    expected = 3 * 1 + 4 * 100 + 2 * 200 + 4 * 20 + 2 * 1000
    assert found == Cost(expected, "USD", "a+b")
    # Without output, input has the price of the last engine.
    assert prices.cost("m", Usage(input=3), attempts(("a", 0), ("b", 0)), 0) == Cost(21, "USD", "b")
    # Output that attempts do not account for is the last one's, as after a server's death.
    assert prices.cost("m", Usage(output=2), attempts(("a", 0)), 0) == Cost(20, "USD", "a")


def test_without_a_price_there_is_no_cost() -> None:
    """Also if only one of the engines lacks one, or if they have different currencies."""
    only_a = PriceList([price("a", engine="a")])
    usage = Usage(output=2)
    assert PriceList().cost("m", usage, attempts(("a", 2)), 0) is None
    assert only_a.cost("m", usage, attempts(("a", 1), ("b", 1)), 0) is None
    both = PriceList([price("a", engine="a"), price("b", engine="b", currency="EUR")])
    assert both.cost("m", usage, attempts(("a", 1), ("b", 1)), 0) is None
