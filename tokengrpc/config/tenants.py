"""Settings of tenants: their keys, what they may use, and how much of it."""

from __future__ import annotations

import os
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from tokengrpc.config.values import (
    Amount,
    AmountOrNone,
    ConfigError,
    CountOrNone,
    CurrencyOrNone,
    Name,
    NameOrNone,
    Variable,
    Weight,
    read_secret,
)
from tokengrpc.core.tenant import BudgetRule, Period, Priority, Rates

if TYPE_CHECKING:
    from collections.abc import Mapping

_MICRO = 1_000_000


class ModelLimitSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of a tenant for one model."""

    model: Annotated[Name, Meta(description="the model")]
    max_generations: Annotated[
        CountOrNone, Meta(description="maximum concurrent generations of the model; 0: no limit")
    ] = 0
    requests_per_minute: Annotated[
        CountOrNone, Meta(description="maximum requests for the model in any minute; 0: no limit")
    ] = 0
    tokens_per_minute: Annotated[
        AmountOrNone, Meta(description="maximum tokens of the model in any minute; 0: no limit")
    ] = 0

    @property
    def rates(self) -> Rates:
        """The limits."""
        return Rates(
            max_generations=self.max_generations,
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
        )


class BudgetSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Budget of a tenant: tokens or money in a period."""

    tokens: Annotated[
        AmountOrNone, Meta(description="tokens, input and output together; 0: the budget is money")
    ] = 0
    amount: Annotated[
        Amount, Meta(description="money, in units of currency; empty: the budget is in tokens")
    ] = ""
    currency: Annotated[
        CurrencyOrNone, Meta(description="ISO 4217 code of the currency of amount; empty with tokens")
    ] = ""
    period: Annotated[
        Literal["day", "month"],
        Meta(description="calendar day or month, in UTC, after which it is full again"),
    ] = "month"
    model: Annotated[NameOrNone, Meta(description="model that the budget is for; empty: all models")] = ""
    label_key: Annotated[
        Annotated[str, Meta(max_length=64)],
        Meta(description="label of whose values each has this budget; empty: one for all requests"),
    ] = ""

    def __post_init__(self) -> None:
        """Checks that the budget is either tokens or money."""
        if bool(self.tokens) == bool(self.amount):
            raise ConfigError("tokens: exactly one of tokens and amount is required")
        if self.amount and not self.currency:
            raise ConfigError("currency: required with amount, such as USD")
        if self.tokens and self.currency:
            raise ConfigError("currency: cannot be combined with tokens; remove one of them")
        if self.amount and not self.rule.amount:
            raise ConfigError("amount: must be above 0")

    @property
    def rule(self) -> BudgetRule:
        """The budget, with money in millionths."""
        return BudgetRule(
            amount=self.tokens or int(Decimal(self.amount) * _MICRO),
            currency=self.currency,
            period=Period(self.period),
            model=self.model,
            label_key=self.label_key,
        )


class TenantSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a tenant: its key, its models and its limits."""

    name: Annotated[Name, Meta(description="name of the tenant in the usage ledger and logs")]
    key_env: Annotated[Variable, Meta(description="environment variable with the tenant's key")] = ""
    key_file: Annotated[str, Meta(description="file with the tenant's key")] = ""
    models: Annotated[
        tuple[str, ...], Meta(description="models that the tenant may use; empty: all models")
    ] = ()
    admin: Annotated[bool, Meta(description="whether the tenant may see other tenants' usage")] = False
    max_generations: Annotated[
        CountOrNone, Meta(description="maximum concurrent generations; 0: no limit of its own")
    ] = 0
    requests_per_minute: Annotated[
        CountOrNone, Meta(description="maximum requests in any minute; 0: no limit")
    ] = 0
    tokens_per_minute: Annotated[
        AmountOrNone,
        Meta(description="maximum tokens in any minute, input and output together; 0: no limit"),
    ] = 0
    max_output_token_count: Annotated[
        CountOrNone, Meta(description="maximum output tokens of a generation; 0: no limit of its own")
    ] = 0
    priority_ceiling: Annotated[
        Literal["interactive", "standard", "batch"],
        Meta(description="highest priority of its requests; interactive: no ceiling"),
    ] = "interactive"
    weight: Annotated[
        Weight, Meta(description="share of the tenant when tenants of one priority wait for engines")
    ] = 1
    model_limits: Annotated[
        tuple[ModelLimitSettings, ...], Meta(description="further limits for single models")
    ] = ()
    budgets: Annotated[
        tuple[BudgetSettings, ...], Meta(description="tokens or money for a day or month; all of them hold")
    ] = ()

    def __post_init__(self) -> None:
        """Checks that there is at most one key, and that each limit is stated once."""
        if self.key_env and self.key_file:
            raise ConfigError("key_file: cannot be combined with key_env; remove one of them")
        models = [limit.model for limit in self.model_limits]
        for index, model in enumerate(models):
            if model in models[:index]:
                raise ConfigError(f"model_limits[{index}].model: `{model}` has limits already")
        scopes = [_scope(budget) for budget in self.budgets]
        for index, scope in enumerate(scopes):
            if scope in scopes[:index]:
                raise ConfigError(f"budgets[{index}]: there is a budget for the same use already")

    @property
    def has_key(self) -> bool:
        """Whether the tenant has a key. Other credentials may name a tenant without one."""
        return bool(self.key_env or self.key_file)

    @property
    def ceiling(self) -> Priority:
        """The highest priority of its requests."""
        return Priority[self.priority_ceiling.upper()]

    def read_key(self, environ: Mapping[str, str] = os.environ) -> str:
        """Reads the tenant's key. Raises ConfigError if it is missing or empty."""
        return read_secret(f"tenant {self.name}: key", self.key_env, self.key_file, environ) or ""


def _scope(budget: BudgetSettings) -> tuple[str, str, str, str]:
    """Returns what two budgets of a tenant must not have in common."""
    return budget.period, budget.currency, budget.model, budget.label_key
