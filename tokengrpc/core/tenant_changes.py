"""What a change of a tenant or a key changes, as the audit has it: fields with their old and new values.

Fields have the names of the contract. None of them is a key.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokengrpc.core.ports.tenant_store import ApiKey
    from tokengrpc.core.tenant import BudgetRule, Tenant

_LIMITS = ("max_generations", "requests_per_minute", "tokens_per_minute", "max_output_token_count", "weight")


def change_of(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Returns as JSON what two descriptions differ in; empty values count as absent."""
    names = [
        name for name in dict.fromkeys((*old, *new)) if (old.get(name) or None) != (new.get(name) or None)
    ]
    sides = {"old": old, "new": new}
    return json.dumps(
        {name: {side: values[name] for side, values in sides.items() if values.get(name)} for name in names}
    )


def describe_tenant(tenant: Tenant) -> dict[str, Any]:
    """Returns the fields of a tenant."""
    return {
        "models": sorted(tenant.models),
        "priority_ceiling": tenant.priority_ceiling.name,
        **{name: getattr(tenant, name) for name in _LIMITS},
        "model_limits": [
            {"model": model, **_given(dataclasses.asdict(rates))} for model, rates in tenant.model_rates
        ],
        "budgets": [_describe_budget(rule) for rule in tenant.budgets],
    }


def describe_key(key: ApiKey) -> dict[str, Any]:
    """Returns the fields of a key that an admin chose, and its prefix."""
    return {
        "prefix": key.prefix,
        "display_name": key.display_name,
        "scopes": sorted(key.scopes),
        "expire_time_ns": key.expire_time_ns,
    }


def _describe_budget(rule: BudgetRule) -> dict[str, Any]:
    amount = {"amount_micros" if rule.currency else "tokens": rule.amount}
    names = ("currency", "period", "model", "label_key")
    return {**amount, **_given({name: getattr(rule, name) for name in names})}


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}
