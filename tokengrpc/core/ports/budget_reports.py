"""The port of budgets that tell how far they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.core.tenant import BudgetRule, Tenant


class BudgetUse(NamedTuple):
    """How far a budget is used in the running period, reservations included.

    `label_value` is empty for a rule without a label. `used` is in tokens or millionths of the currency.
    """

    rule: BudgetRule
    label_value: str
    used: int
    period_end_ns: int


@runtime_checkable
class ReportsBudgets(Protocol):
    """Budget that can be asked how far the budgets of a tenant are used."""

    async def budget_uses(self, tenant: Tenant) -> Sequence[BudgetUse]:
        """Returns the use of each budget, in the order of `tenant.budgets`, and of each of its label values.

        Raises StoreUnavailable if that cannot be read now.
        """
