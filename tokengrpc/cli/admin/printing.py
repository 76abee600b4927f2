"""Tenants, keys and changes as a person reads them."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from tokenstreaming.v1 import admin_service_pb2 as pb
from tokenstreaming.v1 import input_pb2

from tokengrpc.cli.admin.limits import budget_text, model_limit_text
from tokengrpc.cli.output import write
from tokengrpc.cli.usage.tables import table
from tokengrpc.client.names import short_name
from tokengrpc.escaping import escape_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from google.protobuf.timestamp_pb2 import Timestamp


def print_tenants(tenants: Sequence[pb.Tenant]) -> None:
    """Prints a table of tenants. A limit that does not limit is empty."""
    header = ("tenant", "models", "ceiling", "generations", "requests/min", "tokens/min", "budgets")
    rows = [
        (
            tenant.name,
            " ".join(tenant.models) or "all",
            _priority(tenant),
            _limit(tenant.max_generations),
            _limit(tenant.requests_per_minute),
            _limit(tenant.tokens_per_minute),
            " ".join(map(budget_text, tenant.budgets)),
        )
        for tenant in tenants
    ]
    _print(table(header, rows, whole=1))


def print_tenant(tenant: pb.Tenant, statuses: Sequence[pb.BudgetStatus] = ()) -> None:
    """Prints a tenant, and how far its budgets are used."""
    for name, value in (*_fields(tenant), *map(_used, statuses)):
        write(f"{name:<22}{escape_line(value)}", end="\n")


def print_keys(keys: Sequence[pb.ApiKey]) -> None:
    """Prints a table of keys."""
    header = ("id", "tenant", "prefix", "scopes", "name", "created", "last use", "state")
    rows = [
        (
            key.id,
            key.tenant,
            key.prefix,
            " ".join(scope_names(key)),
            key.display_name,
            _day(key.create_time),
            _day(key.last_use_time) if key.HasField("last_use_time") else "",
            _state(key),
        )
        for key in keys
    ]
    _print(table(header, rows, whole=1))


def print_changes(entries: Sequence[pb.AuditEntry]) -> None:
    """Prints a table of changes."""
    header = ("time (UTC)", "actor", "action", "tenant", "key", "change")
    rows = [
        (_minute(entry.time), entry.actor, entry.action, entry.tenant, entry.api_key_id, entry.change)
        for entry in entries
    ]
    _print(table(header, rows, whole=1))


def scope_names(key: pb.ApiKey) -> list[str]:
    """Returns the scopes of a key, as `--scope` takes them."""
    return [short_name(pb.Scope, scope, "SCOPE_").lower() for scope in key.scopes]


def _fields(tenant: pb.Tenant) -> Iterator[tuple[str, str]]:
    yield "tenant", tenant.name
    yield "models", " ".join(tenant.models) or "all"
    yield "priority ceiling", _priority(tenant)
    for name in ("max_generations", "requests_per_minute", "tokens_per_minute", "max_output_token_count"):
        yield (
            name.replace("_", " ").replace("token count", "tokens"),
            _limit(getattr(tenant, name)) or "no limit",
        )
    yield "weight", str(tenant.weight)
    for limits in tenant.model_limits:
        yield "model limit", model_limit_text(limits)
    for budget in tenant.budgets:
        yield "budget", budget_text(budget)
    yield "created", tenant.create_time.ToJsonString()
    yield "changed", tenant.update_time.ToJsonString()


def _used(status: pb.BudgetStatus) -> tuple[str, str]:
    budget = status.budget
    total = budget.tokens or budget.amount_micros
    of = f" for {budget.label_key}={status.label_value}" if budget.label_key else ""
    share = f"{status.used / total:.1%} of {budget_text(budget)}{of}"
    return "used", f"{share}, until {_minute(status.period_end_time)} UTC"


def _priority(tenant: pb.Tenant) -> str:
    return short_name(input_pb2.Priority, tenant.priority_ceiling, "PRIORITY_").lower()


def _limit(value: int) -> str:
    return f"{value:,}" if value else ""


def _state(key: pb.ApiKey) -> str:
    if key.HasField("revoke_time"):
        return f"revoked {_day(key.revoke_time)}"
    return f"until {_day(key.expire_time)}" if key.HasField("expire_time") else "valid"


def _day(time: Timestamp) -> str:
    return time.ToDatetime(UTC).strftime("%Y-%m-%d")


def _minute(time: Timestamp) -> str:
    return time.ToDatetime(UTC).strftime("%Y-%m-%d %H:%M")


def _print(lines: Sequence[str]) -> None:
    for line in lines:
        write(line, end="\n")
