"""Leases of budgets in the ledger's database: which part of a budget each process may use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from tokengrpc.core.ports.budget import AccountUse, Lease
from tokengrpc.core.ports.ledger import RecordState
from tokengrpc.stores.sql.budgets import account_of, accounts, id_of, leases, row_of, stored
from tokengrpc.stores.sql.group import lock
from tokengrpc.stores.sql.labels import label_of
from tokengrpc.stores.sql.recovery import now_ns
from tokengrpc.stores.sql.schema import pruned_sums, records
from tokengrpc.stores.sql.upserts import upserts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tokengrpc.core.budget import Account
    from tokengrpc.core.ports.budget import LeaseRequest

_KEPT_NS = 62 * 86_400 * 1_000_000_000
"""For how long an account is kept after its period began."""


def lease(
    connection: sa.Connection, requests: Sequence[LeaseRequest], run_id: str, seconds: float
) -> Sequence[Lease]:
    """Leases parts of budgets to a process, in a transaction that has begun. See `BudgetStore`."""
    wanted = {id_of(stored(request.account)): request for request in requests}
    _create_missing(connection, {id_: stored(request.account) for id_, request in wanted.items()})
    # In one order, so that two transactions never wait for each other.
    rows = connection.execute(_LOCKED, {"ids": sorted(wanted)}).all()
    used = {row.account_id: row.used for row in rows}
    now: int = connection.scalar(sa.select(now_ns(connection))) or 0
    connection.execute(_EXPIRED, {"ids": list(wanted), "now": now})
    # All leases that are left hold.
    others = _sums(connection, leases.c.account_id.in_(list(wanted)), leases.c.run_id != run_id)
    granted: dict[str, Lease] = {}
    for id_, request in wanted.items():
        left = request.limit - used[id_] - others.get(id_, 0) - request.kept
        amount = request.kept + max(0, min(request.wanted, left))
        granted[id_] = Lease(amount=amount, used=used[id_])
    expires = now + round(seconds * 1e9)
    rows_leased = [
        {"account_id": id_, "run_id": run_id, "amount": lease.amount, "expires_ns": expires}
        for id_, lease in sorted(granted.items())
    ]
    connection.execute(_UPSERTS[connection.dialect.name], rows_leased)
    return [granted[id_of(stored(request.account))] for request in requests]


def void_all(connection: sa.Connection) -> None:
    """Ends all leases, of a database that belongs to one process, which has just started."""
    connection.execute(leases.delete())


def use(connection: sa.Connection, tenant: str, since_ns: int) -> Sequence[AccountUse]:
    """Returns the accounts of a tenant. See `BudgetStore`."""
    found = connection.execute(
        accounts.select()
        .where(accounts.c.tenant == tenant, accounts.c.start_ns >= since_ns)
        .order_by(accounts.c.label_value)
    ).all()
    now = connection.scalar(sa.select(now_ns(connection))) or 0
    ids = [row.account_id for row in found]
    leased = _sums(connection, leases.c.account_id.in_(ids), leases.c.expires_ns > now)
    return [
        AccountUse(account=account_of(row), used=row.used, leased=leased.get(row.account_id, 0))
        for row in found
    ]


def _sums(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> Mapping[str, int]:
    """Returns what is leased of accounts."""
    total = sa.func.sum(leases.c.amount).label("amount")
    statement = sa.select(leases.c.account_id, total).where(*conditions).group_by(leases.c.account_id)
    return {row.account_id: int(row.amount) for row in connection.execute(statement)}


def _create_missing(connection: sa.Connection, wanted: Mapping[str, Account]) -> None:
    """Creates the accounts that there are not. Each begins with the closed records of its period."""
    known = set(connection.scalars(_KNOWN, {"ids": list(wanted)}))
    missing = {id_: account for id_, account in wanted.items() if id_ not in known}
    if not missing:
        return
    lock(connection)  # no record is closed between the sum and the account
    known = set(connection.scalars(_KNOWN, {"ids": list(missing)}))
    for id_, account in missing.items():
        if id_ not in known:
            connection.execute(
                accounts.insert(), {**row_of(account), "used": _closed_use(connection, account)}
            )
            old = (accounts.c.tenant == account.tenant) & (accounts.c.start_ns < account.start_ns - _KEPT_NS)
            connection.execute(accounts.delete().where(old))


def _closed_use(connection: sa.Connection, account: Account) -> int:
    """Returns what the closed records of an account's period used of it."""
    conditions: list[sa.ColumnElement[bool]] = [
        records.c.tenant == account.tenant,
        records.c.state != RecordState.OPEN.value,
        records.c.create_time_ns >= account.start_ns,
        records.c.create_time_ns < account.end_ns,
    ]
    if account.model:
        conditions.append(records.c.model == account.model)
    if account.label_key:
        conditions.append(label_of(connection.dialect, account.label_key) == account.label_value)
    total = _sum(connection, records, account, conditions)
    if not account.label_key:
        pruned: list[sa.ColumnElement[bool]] = [
            pruned_sums.c.tenant == account.tenant,
            pruned_sums.c.hour_ns >= account.start_ns,
            pruned_sums.c.hour_ns < account.end_ns,
        ]
        if account.model:
            pruned.append(pruned_sums.c.model == account.model)
        total += _sum(connection, pruned_sums, account, pruned)
    return total


def _sum(
    connection: sa.Connection, table: sa.Table, account: Account, conditions: list[sa.ColumnElement[bool]]
) -> int:
    column: sa.ColumnElement[Any] = table.c.input + table.c.output
    if account.currency:
        column = table.c.cost_micros
        conditions = [*conditions, table.c.currency == account.currency]
    return int(connection.scalar(sa.select(sa.func.sum(column)).where(*conditions)) or 0)


# Made once: to make a statement takes longer than to run it.
_IDS: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
_KNOWN = sa.select(accounts.c.account_id).where(accounts.c.account_id.in_(_IDS))
_LOCKED = (
    sa.select(accounts.c.account_id, accounts.c.used)
    .where(accounts.c.account_id.in_(_IDS))
    .order_by(accounts.c.account_id)
    .with_for_update()
)
_EXPIRED = leases.delete().where(leases.c.account_id.in_(_IDS), leases.c.expires_ns <= sa.bindparam("now"))
_UPSERTS = upserts(leases, lambda new: {"amount": new.amount, "expires_ns": new.expires_ns})
