"""Prices of tokens, and the cost of a usage: exact integers, rounded once, without I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tokengrpc.core.model import Cost

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tokengrpc.core.attempts import Attempt
    from tokengrpc.core.model import Usage

PER = 1_000_000
"""Tokens that a rate is for."""


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Rates for each kind of token, in millionths of the currency for a million tokens.

    The kinds do not overlap: `input` is for input that was neither read from a cache nor written to one,
    `output` for output that is no reasoning.
    """

    input: int
    cached_input: int
    cache_write_input: int
    output: int
    reasoning: int
    overhead: int = 0


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """Price of a model from a time on, in nanoseconds since the Unix epoch. `engine` is empty for all."""

    model: str
    engine: str = ""
    start_ns: int = 0
    currency: str
    version: str
    rates: Rates


class PriceList:
    """All prices. A price for an engine precedes one for all engines; among these, the latest one applies."""

    def __init__(self, prices: Iterable[Price] = ()) -> None:
        by_target: dict[tuple[str, str], list[Price]] = {}
        for price in sorted(prices, key=lambda price: price.start_ns, reverse=True):
            by_target.setdefault((price.model, price.engine), []).append(price)
        self._latest_first = by_target

    def __bool__(self) -> bool:
        return bool(self._latest_first)

    def find(self, model: str, engine: str, time_ns: int) -> Price | None:
        """Returns the price of a model on an engine at a time; None if there is none."""
        for target in ((model, engine), (model, "")):
            for price in self._latest_first.get(target, ()):
                if price.start_ns <= time_ns:
                    return price
        return None

    def cost(self, model: str, usage: Usage, attempts: Sequence[Attempt], create_time_ns: int) -> Cost | None:
        """Returns the cost of a generation; None if an engine that its tokens come from has no price.

        Output has the price of the engine that produced it. Input and overhead have that of the first engine
        with output, whose prefill is the billed one; without output, that of the last engine. All prices are
        those at `create_time_ns`. The sum is rounded once, half to even.
        """
        shares = _shares(usage, attempts)
        total = 0
        applied: list[Price] = []
        for engine, counts in shares:
            price = self.find(model, engine, create_time_ns)
            if price is None or (applied and price.currency != applied[0].currency):
                return None
            total += sum(count * getattr(price.rates, kind) for kind, count in counts.items())
            applied.append(price)
        versions = dict.fromkeys(price.version for price in applied)
        return Cost(
            amount_micros=divide_half_even(total, PER),
            currency=applied[0].currency,
            price_version="+".join(versions),
        )


def _shares(usage: Usage, attempts: Sequence[Attempt]) -> list[tuple[str, dict[str, int]]]:
    """Returns the engines that a usage comes from, each with its tokens of each kind.

    Output that no attempt accounts for, as after a server's death, is the last attempt's. Reasoning comes
    first in an output.
    """
    outputs: list[tuple[str, int]] = []
    left = usage.output
    for attempt in attempts:
        outputs.append((attempt.engine, min(left, attempt.output)))
        left -= outputs[-1][1]
    engine, last = outputs.pop() if outputs else ("", 0)
    outputs.append((engine, last + left))
    with_output = [share for share in outputs if share[1]] or outputs[-1:]
    cached = min(usage.cached_input, usage.input)
    cache_write = min(usage.cache_write_input, usage.input - cached)
    counts = {
        "input": usage.input - cached - cache_write,
        "cached_input": cached,
        "cache_write_input": cache_write,
        "overhead": usage.overhead,
    }
    shares: list[tuple[str, dict[str, int]]] = []
    reasoning_left = min(usage.reasoning, usage.output)
    for engine, output in with_output:
        reasoning = min(reasoning_left, output)
        reasoning_left -= reasoning
        shares.append((engine, {**counts, "reasoning": reasoning, "output": output - reasoning}))
        counts = {}
    return shares


def divide_half_even(dividend: int, divisor: int) -> int:
    """Divides, and rounds to the nearest integer, from the middle to the even one."""
    quotient, rest = divmod(dividend, divisor)
    return quotient + (2 * rest > divisor or (2 * rest == divisor and quotient % 2))
