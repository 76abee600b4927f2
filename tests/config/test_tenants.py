"""The settings of tenants: their limits and budgets, as the core has them, and what is wrong in them."""

from __future__ import annotations

import pytest

from tokengrpc.config import ConfigError, describe, load
from tokengrpc.core.tenant import BudgetRule, Period, Priority, Rates
from tokengrpc.identity.tenants import tenant_of

MODEL = '[[models]]\nname = "chat"\n'
TENANT = '[[tenants]]\nname = "search"\nkey_env = "KEY"\n'

ALL = """
requests_per_minute = 60
tokens_per_minute = 100_000
max_generations = 8
max_output_token_count = 500
priority_ceiling = "standard"
weight = 3

[[tenants.model_limits]]
model = "chat"
max_generations = 2
requests_per_minute = 30
tokens_per_minute = 50_000

[[tenants.budgets]]
tokens = 1_000_000
period = "day"

[[tenants.budgets]]
amount = "12.50"
currency = "EUR"
model = "chat"
label_key = "team"
"""

WRONG = {
    "requests_per_minute = -1": "tenants[0].requests_per_minute: must be",
    'priority_ceiling = "high"': "tenants[0].priority_ceiling: must be",
    "weight = 0": "tenants[0].weight: must be",
    '[[tenants.model_limits]]\nmodel = "other"': "tenants[0].model_limits[0].model: there is no",
    '[[tenants.model_limits]]\nmodel = "chat"\n[[tenants.model_limits]]\nmodel = "chat"': (
        "tenants[0].model_limits[1].model: `chat` has limits already"
    ),
    "[[tenants.budgets]]": "tenants[0].budgets[0].tokens: exactly one of tokens and amount is required",
    '[[tenants.budgets]]\ntokens = 5\namount = "5"\ncurrency = "EUR"': (
        "tenants[0].budgets[0].tokens: exactly one"
    ),
    '[[tenants.budgets]]\namount = "5"': "tenants[0].budgets[0].currency: required with amount",
    '[[tenants.budgets]]\ntokens = 5\ncurrency = "EUR"': "tenants[0].budgets[0].currency: cannot be combined",
    '[[tenants.budgets]]\namount = "0.00"\ncurrency = "EUR"': "tenants[0].budgets[0].amount: must be above 0",
    "[[tenants.budgets]]\namount = 5": "tenants[0].budgets[0].amount: must be",
    '[[tenants.budgets]]\ntokens = 5\nperiod = "year"': "tenants[0].budgets[0].period: must be",
    '[[tenants.budgets]]\ntokens = 5\nmodel = "no"': "tenants[0].budgets[0].model: there is no model `no`",
    "[[tenants.budgets]]\ntokens = 5\n[[tenants.budgets]]\ntokens = 6": (
        "tenants[0].budgets[1]: there is a budget for the same use already"
    ),
}


def test_a_tenant_has_its_limits(tmp_path):
    """In the units of the core: money in millionths."""
    tenant = tenant_of(_load(tmp_path, ALL).tenants[0])
    assert (tenant.requests_per_minute, tenant.tokens_per_minute, tenant.max_generations) == (60, 100_000, 8)
    assert (tenant.max_output_token_count, tenant.weight) == (500, 3)
    assert tenant.priority(Priority.INTERACTIVE) is Priority.STANDARD
    assert tenant.rates("chat") == Rates(max_generations=2, requests_per_minute=30, tokens_per_minute=50_000)
    assert tenant.rates("other") == Rates()
    assert tenant.budgets == (
        BudgetRule(amount=1_000_000, period=Period.DAY),
        BudgetRule(amount=12_500_000, period=Period.MONTH, currency="EUR", model="chat", label_key="team"),
    )


def test_the_shown_settings_can_be_read_back(tmp_path):
    """With all limits."""
    settings = _load(tmp_path, ALL)
    shown = describe(settings)
    assert "[[tenants.budgets]]" in shown
    (tmp_path / "again.toml").write_text(shown)
    assert load(tmp_path / "again.toml", {}, {}) == settings


@pytest.mark.parametrize("text", WRONG)
def test_mistakes_are_named_with_their_path(tmp_path, text):
    """In one line."""
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, text)
    assert WRONG[text] in str(caught.value)
    assert "\n" not in str(caught.value)


def _load(tmp_path, limits: str):
    file = tmp_path / "tokengrpc.toml"
    file.write_text(MODEL + TENANT + limits)
    return load(file, {}, {})
