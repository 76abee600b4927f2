"""Prices in the settings file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokengrpc.config import ConfigError, PriceSettings, load, price_list
from tokengrpc.core.model import Cost, Usage

BASE = '[[prices]]\nmodel = "m"\ninput = "0.15"\noutput = "0.6"\n'


def loaded(tmp_path, text: str):
    file = tmp_path / "settings.toml"
    file.write_text(text)
    return load(file, {}, {})


def test_rates_are_read_exactly(tmp_path) -> None:
    """Unset ones are those of input and output; overhead is free."""
    (price,) = loaded(tmp_path, BASE + 'cached_input = "0.000001"\n').prices
    rates = price.price.rates
    assert (rates.input, rates.cached_input, rates.cache_write_input) == (150_000, 1, 150_000)
    assert (rates.output, rates.reasoning, rates.overhead) == (600_000, 600_000, 0)


@given(st.integers(0, 999_999_999_999))
def test_every_rate_is_read_exactly(micros: int) -> None:
    text = f"{micros // 10**6}.{micros % 10**6:06}"
    assert PriceSettings(model="m", input=text, output="0").price.rates.input == micros


def test_a_version_is_derived_from_the_content() -> None:
    """Equal content has the same version, other content another one; a version that is set remains."""
    settings = {"model": "m", "input": "1", "output": "2"}
    version = PriceSettings(**settings).price.version
    assert version == PriceSettings(**settings, reasoning="2.0").price.version
    assert version != PriceSettings(**settings, reasoning="2.1").price.version
    assert PriceSettings(**settings, version="2026-01").price.version == "2026-01"


def test_a_start_is_a_date_or_a_time_in_utc(tmp_path) -> None:
    later = BASE.replace('"0.6"', '"1.2"') + 'start = "2026-02-01T12:00:00Z"\n'
    dated = BASE.replace('"0.6"', '"2.4"') + 'start = "2026-03-01"\n'
    prices = price_list(loaded(tmp_path, BASE + later + dated).prices)
    noon, march = 1_769_947_200 * 10**9, 1_772_323_200 * 10**9
    found = [prices.cost("m", Usage(output=1_000_000), (), time) for time in (noon - 1, noon, march)]
    assert [cost.amount_micros for cost in found if cost] == [600_000, 1_200_000, 2_400_000]
    assert isinstance(found[0], Cost)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BASE.replace('"0.15"', "0.15"), r"prices\[0\].input: must be a decimal number in quotes"),
        (BASE.replace('"0.15"', '"0.1234567"'), r"prices\[0\].input: must be a decimal number in quotes"),
        (BASE.replace('"0.15"', '"-1"'), r"prices\[0\].input: must be a decimal number in quotes"),
        (BASE.replace("output", "ouput"), r"prices\[0\].ouput: unknown key; did you mean `output`"),
        (BASE + 'start = "2026-02-30"', r"prices\[0\].start: there is no such date or time"),
        (BASE + 'currency = "usd"', r"prices\[0\].currency: must be three capital letters"),
        (BASE + BASE, r"prices\[1\].start: an earlier table has the same model, engine and start"),
        (
            BASE + BASE + 'engine = "e"\ncurrency = "EUR"',
            r"prices\[1\].currency: all prices of a model must have one currency, here USD",
        ),
    ],
)
def test_wrong_prices_are_refused(tmp_path, text: str, message: str) -> None:
    """In one line with the key."""
    with pytest.raises(ConfigError, match=message):
        loaded(tmp_path, text)
