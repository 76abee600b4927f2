"""Conversion of tenants, keys and the audit to protobuf."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenstreaming.v1 import admin_service_pb2 as pb

from tokengrpc.wire.generation import timestamp
from tokengrpc.wire.tables import PERIODS, PRIORITIES, SCOPES

if TYPE_CHECKING:
    from tokengrpc.core.ports.budget import BudgetStatus
    from tokengrpc.core.ports.tenant_store import ApiKey, AuditEntry, StoredTenant
    from tokengrpc.core.tenant import BudgetRule


def tenant_message(stored: StoredTenant) -> pb.Tenant:
    """Converts a tenant."""
    tenant = stored.tenant
    return pb.Tenant(
        name=tenant.name,
        models=sorted(tenant.models),
        priority_ceiling=PRIORITIES.there[tenant.priority_ceiling],
        max_generations=tenant.max_generations,
        requests_per_minute=tenant.requests_per_minute,
        tokens_per_minute=tenant.tokens_per_minute,
        max_output_token_count=tenant.max_output_token_count,
        weight=tenant.weight,
        model_limits=[
            pb.ModelLimits(
                model=model,
                max_generations=rates.max_generations,
                requests_per_minute=rates.requests_per_minute,
                tokens_per_minute=rates.tokens_per_minute,
            )
            for model, rates in tenant.model_rates
        ],
        budgets=map(budget_message, tenant.budgets),
        create_time=timestamp(stored.create_time_ns),
        update_time=timestamp(stored.update_time_ns),
    )


def budget_message(rule: BudgetRule) -> pb.Budget:
    """Converts a budget."""
    message = pb.Budget(
        currency=rule.currency, period=PERIODS.there[rule.period], model=rule.model, label_key=rule.label_key
    )
    if rule.currency:
        message.amount_micros = rule.amount
    else:
        message.tokens = rule.amount
    return message


def budget_status_message(status: BudgetStatus) -> pb.BudgetStatus:
    """Converts how far a budget is used."""
    return pb.BudgetStatus(
        budget=budget_message(status.rule),
        label_value=status.label_value,
        used=status.used,
        period_end_time=timestamp(status.period_end_ns),
    )


def key_message(key: ApiKey) -> pb.ApiKey:
    """Converts a key."""
    return pb.ApiKey(
        id=key.id,
        tenant=key.tenant,
        display_name=key.display_name,
        prefix=key.prefix,
        scopes=sorted(SCOPES.there[scope] for scope in key.scopes),
        create_time=timestamp(key.create_time_ns),
        expire_time=timestamp(key.expire_time_ns or 0),
        last_use_time=timestamp(key.last_use_time_ns or 0),
        revoke_time=timestamp(key.revoke_time_ns or 0),
    )


def audit_entry_message(entry: AuditEntry) -> pb.AuditEntry:
    """Converts an entry of the audit."""
    return pb.AuditEntry(
        sequence=entry.sequence,
        time=timestamp(entry.time_ns),
        actor=entry.actor,
        action=entry.action,
        tenant=entry.tenant,
        api_key_id=entry.key_id,
        change=entry.change,
    )
