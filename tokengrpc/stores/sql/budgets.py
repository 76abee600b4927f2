"""Accounts of budgets in the ledger's database, which are updated in the transactions that close records."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from tokengrpc.core.budget import Account, period_start
from tokengrpc.core.ports.usage_reader import EntryKind
from tokengrpc.core.tenant import Period
from tokengrpc.stores.sql.prepared import Value
from tokengrpc.stores.sql.stored_text import storable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tokengrpc.core.ports.ledger import UsageRecord
    from tokengrpc.core.ports.usage_reader import LedgerEntry

metadata = sa.MetaData()


accounts = sa.Table(
    "budget_accounts",
    metadata,
    sa.Column("account_id", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("period", sa.Text, nullable=False),
    sa.Column("start_ns", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("label_key", sa.Text, nullable=False),
    sa.Column("label_value", sa.Text, nullable=False),
    sa.Column("used", sa.BigInteger, nullable=False),
    sa.Index("budget_accounts_by_tenant", "tenant", "start_ns"),
)
"""What the closed records of a period used of a budget. `account_id` is a hash of the next seven columns."""

leases = sa.Table(
    "budget_leases",
    metadata,
    sa.Column("account_id", sa.Text, primary_key=True),
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("expires_ns", sa.BigInteger, nullable=False),
)
"""What a process may use of a budget until a time. It is void afterwards."""

_FIELDS = tuple(Account.__struct_fields__)
_CLOSING = {EntryKind.FINISH, EntryKind.LOST, EntryKind.ADJUST}


def create(connection: sa.Connection) -> None:
    """Creates the tables."""
    metadata.create_all(connection)


def stored(account: Account) -> Account:
    """Returns an account with its texts as the database has them."""
    return Account(
        tenant=storable(account.tenant),
        period=account.period,
        start_ns=account.start_ns,
        currency=account.currency,
        model=storable(account.model),
        label_key=storable(account.label_key),
        label_value=storable(account.label_value),
    )


@lru_cache(maxsize=4096)
def id_of(account: Account) -> str:
    """Returns the id of a stored account."""
    return hashlib.sha256(msgspec.json.encode(account)).hexdigest()[:32]


def account_of(row: sa.Row[Any]) -> Account:
    """Returns the account of a row."""
    return Account(**{name: getattr(row, name) for name in _FIELDS} | {"period": Period(row.period)})


def add_used(connection: sa.Connection, entries: Iterable[LedgerEntry]) -> None:
    """Adds what records used that this transaction, which has the ledger's lock, has closed or corrected."""
    closing = [entry for entry in entries if entry.kind in _CLOSING]
    if not closing or _ANY.of(connection) is None:
        return
    tenants = sorted({storable(entry.record.tenant) for entry in closing})
    since = period_start(Period.MONTH, min(entry.record.create_time_ns for entry in closing))
    shapes = connection.execute(_SHAPES, {"tenants": tenants, "since": since}).all()
    changes: dict[str, int] = {}
    for entry in closing if shapes else ():
        for shape in shapes:
            account = _counting(shape, entry.record)
            if account is not None:
                change = account.amount(entry.record.usage, entry.record.cost)
                if entry.previous_usage is not None:
                    change -= account.amount(entry.previous_usage, entry.previous_cost)
                changes[id_of(account)] = changes.get(id_of(account), 0) + change
    if changes:
        # In one order, so that two transactions never wait for each other.
        rows = [{"at": id_, "change": changes[id_]} for id_ in sorted(changes)]
        connection.execute(_ADD, rows)


def _counting(shape: sa.Row[Any], record: UsageRecord) -> Account | None:
    """Returns the account of a shape that counts a record; None if none does."""
    period = Period(shape.period)
    if (
        shape.tenant != storable(record.tenant)
        or shape.start_ns != period_start(period, record.create_time_ns)
        or shape.model not in {"", storable(record.model)}
    ):
        return None
    value = ""
    if shape.label_key:
        labels = {storable(key): storable(text) for key, text in record.labels.items()}
        if shape.label_key not in labels:
            return None
        value = labels[shape.label_key]
    return Account(
        tenant=shape.tenant,
        period=period,
        start_ns=shape.start_ns,
        currency=shape.currency,
        model=shape.model,
        label_key=shape.label_key,
        label_value=value,
    )


# Made once: to make a statement takes longer than to run it.
_ANY = Value(sa.select(accounts.c.account_id).limit(1))
_SHAPES = (
    sa.select(*(accounts.c[name] for name in _FIELDS if name != "label_value"))
    .where(
        accounts.c.tenant.in_(sa.bindparam("tenants", expanding=True)),
        accounts.c.start_ns >= sa.bindparam("since"),
    )
    .distinct()
)
_ADD = (
    accounts.update()
    .where(accounts.c.account_id == sa.bindparam("at"))
    .values(used=accounts.c.used + sa.bindparam("change"))
)


def row_of(account: Account) -> dict[str, object]:
    """Returns the columns of a stored account, without what is used."""
    fields = {name: getattr(account, name) for name in _FIELDS}
    return {"account_id": id_of(account), **fields, "period": account.period.value}
