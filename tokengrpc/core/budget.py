"""Accounts of budgets: which budgets a generation draws on, and how much of each it uses. Without I/O."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from tokengrpc.core.tenant import Period

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tokengrpc.core.model import Cost, Usage
    from tokengrpc.core.tenant import BudgetRule, Tenant

_SECOND = 1_000_000_000
_DAY = 86_400 * _SECOND


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Use of one budget in one period, which begins at `start_ns` after the Unix epoch.

    It is in tokens, or in millionths of `currency` if that is set. An empty `model` is for all models. With a
    `label_key`, it is for the requests whose label has this value.
    """

    tenant: str
    period: Period
    start_ns: int
    currency: str = ""
    model: str = ""
    label_key: str = ""
    label_value: str = ""

    @property
    def end_ns(self) -> int:
        """When the period ends."""
        return period_end(self.period, self.start_ns)

    def amount(self, usage: Usage, cost: Cost | None) -> int:
        """Returns how much of the budget a usage is. A cost in another currency is none of it."""
        if not self.currency:
            return usage.input + usage.output
        return cost.amount_micros if cost is not None and cost.currency == self.currency else 0


def accounts(
    tenant: Tenant, model: str, labels: Mapping[str, str], create_time_ns: int
) -> Iterator[tuple[BudgetRule, Account]]:
    """Yields the budgets that a generation draws on, which was created at a time."""
    for rule in tenant.budgets:
        if rule.model in {"", model} and (not rule.label_key or rule.label_key in labels):
            yield (
                rule,
                Account(
                    tenant=tenant.name,
                    period=rule.period,
                    start_ns=period_start(rule.period, create_time_ns),
                    currency=rule.currency,
                    model=rule.model,
                    label_key=rule.label_key,
                    label_value=labels[rule.label_key] if rule.label_key else "",
                ),
            )


def period_start(period: Period, time_ns: int) -> int:
    """Returns when the period began that a time is in, in UTC."""
    day = time_ns - time_ns % _DAY
    return day if period is Period.DAY else _month_start(day)


@lru_cache(maxsize=256)
def _month_start(day_ns: int) -> int:
    day = datetime.fromtimestamp(day_ns // _SECOND, UTC)
    return day_ns - (day.day - 1) * _DAY


def period_end(period: Period, start_ns: int) -> int:
    """Returns when the period ends that begins at a time."""
    if period is Period.DAY:
        return start_ns + _DAY
    within_next = datetime.fromtimestamp(start_ns // _SECOND, UTC) + timedelta(days=31)
    return _month_start(round(within_next.timestamp()) * _SECOND)
