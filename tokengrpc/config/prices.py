"""Settings of prices: one table for each model, or engine of a model, and time from which it applies."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta, structs

from tokengrpc.config.values import ConfigError, Currency, Name, NameOrNone, Rate, RateOrNone, StartOrNone
from tokengrpc.core.prices import Price, PriceList, Rates

if TYPE_CHECKING:
    from collections.abc import Sequence

_MICRO = 1_000_000
_SECOND = 1_000_000_000
_DERIVED_BYTES = 6


class PriceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Price of a model from a time on. Rates are in units of the currency for a million tokens."""

    model: Annotated[Name, Meta(description="name of the model; it may be one that is no longer served")]
    engine: Annotated[
        NameOrNone, Meta(description="name of the engine that the price is for; empty: all engines")
    ] = ""
    start: Annotated[
        StartOrNone,
        Meta(
            description="first time, in UTC, at which generations that begin have this price; empty: always"
        ),
    ] = ""
    currency: Annotated[Currency, Meta(description="ISO 4217 code of the currency")] = "USD"
    version: Annotated[
        NameOrNone, Meta(description="version, which costs name; empty: derived from the other keys")
    ] = ""
    input: Annotated[Rate, Meta(description="rate of input tokens, for a million of them")]
    cached_input: Annotated[
        RateOrNone, Meta(description="rate of input read from the engine's cache; empty: that of input")
    ] = ""
    cache_write_input: Annotated[
        RateOrNone, Meta(description="rate of input written to the engine's cache; empty: that of input")
    ] = ""
    output: Annotated[Rate, Meta(description="rate of output tokens, for a million of them")]
    reasoning: Annotated[RateOrNone, Meta(description="rate of reasoning; empty: that of output")] = ""
    overhead: Annotated[
        RateOrNone, Meta(description="rate of tokens that engine switches cost; empty: free")
    ] = ""

    def __post_init__(self) -> None:
        """Checks that the start is a date that exists."""
        try:
            self.start_ns  # noqa: B018 - for its error
        except ValueError:
            raise ConfigError("start: there is no such date or time") from None

    @property
    def start_ns(self) -> int:
        """The start, in nanoseconds since the Unix epoch; 0 without one."""
        if not self.start:
            return 0
        start = datetime.fromisoformat(self.start.removesuffix("Z")).replace(tzinfo=UTC)
        return int(start.timestamp()) * _SECOND

    @property
    def price(self) -> Price:
        """The price, with unset rates and the version filled in."""
        rates = Rates(
            input=_micros(self.input),
            cached_input=_micros(self.cached_input or self.input),
            cache_write_input=_micros(self.cache_write_input or self.input),
            output=_micros(self.output),
            reasoning=_micros(self.reasoning or self.output),
            overhead=_micros(self.overhead or "0"),
        )
        content = repr((self.model, self.engine, self.start_ns, self.currency, *structs.astuple(rates)))
        derived = hashlib.blake2b(content.encode(), digest_size=_DERIVED_BYTES).hexdigest()
        return Price(
            model=self.model,
            engine=self.engine,
            start_ns=self.start_ns,
            currency=self.currency,
            version=self.version or derived,
            rates=rates,
        )


def check_prices(prices: Sequence[PriceSettings]) -> None:
    """Raises ConfigError if two prices are for the same time, or a model has prices in two currencies."""
    seen: set[tuple[str, str, int]] = set()
    currencies: dict[str, str] = {}
    for index, price in enumerate(prices):
        target = (price.model, price.engine, price.start_ns)
        if target in seen:
            raise ConfigError(
                f"prices[{index}].start: an earlier table has the same model, engine and start; remove one"
            )
        seen.add(target)
        if currencies.setdefault(price.model, price.currency) != price.currency:
            raise ConfigError(
                f"prices[{index}].currency: all prices of a model must have one currency, "
                f"here {currencies[price.model]}"
            )


def price_list(prices: Sequence[PriceSettings]) -> PriceList:
    """Returns the prices that settings name."""
    return PriceList(price.price for price in prices)


def _micros(rate: str) -> int:
    """Converts a rate to millionths of the currency. Exact, because rates have at most six decimals."""
    return int(Decimal(rate) * _MICRO)
