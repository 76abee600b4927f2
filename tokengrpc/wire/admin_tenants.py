"""Conversion of tenants in requests to the AdminService, with all their bounds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from google.protobuf.field_mask_pb2 import FieldMask  # noqa: TC002 - in a signature

from tokengrpc.core.tenant import BudgetRule, Priority, Rates, Tenant
from tokengrpc.wire.checks import Checks
from tokengrpc.wire.tables import PERIODS, PRIORITIES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from tokenstreaming.v1 import admin_service_pb2 as pb

MAX_FIELDS = 4096
"""Fields of a request with a tenant, those of its messages and lists included."""
MAX_INT32 = 2**31 - 1
MAX_TOKENS = 2**53
_MAX_WEIGHT = 1000
_MAX_LIST = 256
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_MODEL = re.compile(r"[A-Za-z0-9._~:/-]{1,128}", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
_MODEL_RULE = "must be 1 to 128 characters of A-Z a-z 0-9 . _ ~ : / -"


def new_tenant(request: pb.CreateTenantRequest) -> Tenant:
    """Converts a request. Raises InvalidRequest."""
    checks = Checks()
    rule = "must be 1 to 64 characters of A-Z a-z 0-9 . _ -"
    checks.that(_NAME.fullmatch(request.tenant.name), "tenant.name", rule)
    fields = _fields(request.tenant, _READERS, checks)
    checks.done()
    return Tenant(name=request.tenant.name, **fields)


def changed_tenant(request: pb.UpdateTenantRequest) -> tuple[Tenant, Collection[str]]:
    """Converts a request: the tenant, and which of its fields are changed. Raises InvalidRequest."""
    checks = Checks()
    checks.that(request.tenant.name, "tenant.name", "is required")
    names = _masked(request.update_mask, checks)
    fields = _fields(request.tenant, names, checks)
    checks.done()
    return Tenant(name=request.tenant.name, **fields), fields.keys()


def _masked(mask: FieldMask, checks: Checks) -> Sequence[str]:
    checks.that(mask.paths, "update_mask", "is required: name the fields to change, or `*` for all")
    if list(mask.paths) == ["*"]:
        return list(_READERS)
    known: list[str] = []
    if not _is_short(mask.paths, "update_mask.paths", checks):
        return known
    for index, name in enumerate(mask.paths):
        fixed = name in {"name", "create_time", "update_time"}
        rule = "cannot be changed" if fixed else "is not a field of a tenant that can be changed"
        if checks.that(name in _READERS, f"update_mask.paths[{index}]", f"`{name[:64]}` {rule}"):
            known.append(name)
    return known


def _fields(message: pb.Tenant, names: Collection[str], checks: Checks) -> dict[str, Any]:
    """Returns fields of a tenant, by the names of the attributes of `Tenant`."""
    return {_ATTRIBUTES.get(name, name): _READERS[name](message, checks) for name in names}


def _count(name: str, most: int) -> Callable[[pb.Tenant, Checks], int]:
    def read(message: pb.Tenant, checks: Checks) -> int:
        value: int = getattr(message, name)
        checks.bounds(f"tenant.{name}", value, 0, most)
        return value

    return read


def _weight(message: pb.Tenant, checks: Checks) -> int:
    checks.bounds("tenant.weight", message.weight, 0, _MAX_WEIGHT)
    return message.weight or 1


def _ceiling(message: pb.Tenant, checks: Checks) -> Priority | None:
    known = {0: Priority.INTERACTIVE, **PRIORITIES.back}
    return checks.enum("tenant.priority_ceiling", message.priority_ceiling, known)


def _models(message: pb.Tenant, checks: Checks) -> frozenset[str]:
    if _is_short(message.models, "tenant.models", checks):
        for index, model in enumerate(message.models):
            checks.that(_MODEL.fullmatch(model), f"tenant.models[{index}]", _MODEL_RULE)
    return frozenset(message.models)


def _model_rates(message: pb.Tenant, checks: Checks) -> tuple[tuple[str, Rates], ...]:
    if not _is_short(message.model_limits, "tenant.model_limits", checks):
        return ()
    read: dict[str, Rates] = {}
    for index, limits in enumerate(message.model_limits):
        path = f"tenant.model_limits[{index}]"
        checks.that(_MODEL.fullmatch(limits.model), f"{path}.model", _MODEL_RULE)
        checks.that(limits.model not in read, f"{path}.model", "has limits already")
        for name, most in _RATES.items():
            checks.bounds(f"{path}.{name}", getattr(limits, name), 0, most)
        read[limits.model] = Rates(**{name: getattr(limits, name) for name in _RATES})
    return tuple(read.items())


def _budgets(message: pb.Tenant, checks: Checks) -> tuple[BudgetRule, ...]:
    if not _is_short(message.budgets, "tenant.budgets", checks):
        return ()
    rules: dict[tuple[Any, ...], BudgetRule] = {}
    for index, budget in enumerate(message.budgets):
        path = f"tenant.budgets[{index}]"
        rule = _budget(budget, path, checks)
        if rule is not None:
            scope = (rule.period, rule.currency, rule.model, rule.label_key)
            checks.that(scope not in rules, path, "there is a budget for the same use already")
            rules[scope] = rule
    return tuple(rules.values())


def _budget(budget: pb.Budget, path: str, checks: Checks) -> BudgetRule | None:
    kind = budget.WhichOneof("amount")
    if not checks.that(kind, f"{path}.amount", "exactly one of `tokens` and `amount_micros` is required"):
        return None
    amount = budget.tokens if kind == "tokens" else budget.amount_micros
    checks.bounds(f"{path}.{kind}", amount, 1, MAX_TOKENS)
    if kind == "tokens":
        checks.that(not budget.currency, f"{path}.currency", "must be empty with `tokens`")
    else:
        rule = "must be three capital letters, such as EUR"
        checks.that(_CURRENCY.fullmatch(budget.currency), f"{path}.currency", rule)
    checks.that(not budget.model or _MODEL.fullmatch(budget.model), f"{path}.model", _MODEL_RULE)
    is_label = len(budget.label_key) <= 64 and budget.label_key.isprintable()
    checks.that(is_label, f"{path}.label_key", "must be at most 64 printable characters")
    period = checks.enum(f"{path}.period", budget.period, PERIODS.back)
    if period is None:
        return None
    return BudgetRule(
        amount=amount,
        currency=budget.currency,
        period=period,
        model=budget.model,
        label_key=budget.label_key,
    )


def _is_short(values: Sequence[Any], path: str, checks: Checks) -> bool:
    return checks.that(len(values) <= _MAX_LIST, path, f"must have at most {_MAX_LIST} entries")


_RATES = {
    "max_generations": MAX_INT32,
    "requests_per_minute": MAX_INT32,
    "tokens_per_minute": MAX_TOKENS,
}
_READERS: Mapping[str, Callable[[pb.Tenant, Checks], Any]] = {
    "models": _models,
    "priority_ceiling": _ceiling,
    **{name: _count(name, most) for name, most in _RATES.items()},
    "max_output_token_count": _count("max_output_token_count", MAX_INT32),
    "weight": _weight,
    "model_limits": _model_rates,
    "budgets": _budgets,
}
"""How each field that can be changed is read."""

_ATTRIBUTES = {"model_limits": "model_rates"}
"""Attributes of `Tenant` that have other names than the fields."""
