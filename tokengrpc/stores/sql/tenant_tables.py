"""The tables of tenants, keys and the audit."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

audit_counter = sa.Table(
    "audit_counter",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("last_sequence", sa.BigInteger, nullable=False),
)
"""One row. Whoever changes anything locks it first, so entries of the audit commit in order, without gaps."""

tenants = sa.Table(
    "tenants",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("create_time_ns", sa.BigInteger, nullable=False),
    sa.Column("update_time_ns", sa.BigInteger, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)
"""`body` is the Tenant as JSON."""

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("prefix", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False, unique=True),
    sa.Column("scopes", sa.Text, nullable=False),
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("create_time_ns", sa.BigInteger, nullable=False),
    sa.Column("expire_time_ns", sa.BigInteger),
    sa.Column("last_use_time_ns", sa.BigInteger),
    sa.Column("revoke_time_ns", sa.BigInteger),
    sa.Index("api_keys_by_time", "create_time_ns", "id"),
    sa.Index("api_keys_by_tenant", "tenant", "create_time_ns", "id"),
)
"""Keys outlive their tenants, as revoked ones. `scopes` are separated by spaces."""

audit = sa.Table(
    "audit_entries",
    metadata,
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("time_ns", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("key_id", sa.Text, nullable=False),
    sa.Column("change", sa.Text, nullable=False),
    sa.Index("audit_entries_by_tenant", "tenant", "sequence"),
)
"""Append-only. `change` is JSON."""


def create(connection: sa.Connection) -> None:
    """Creates the tables."""
    for table in (audit_counter, tenants, api_keys, audit):
        table.create(connection)
    connection.execute(audit_counter.insert().values(id=1, last_sequence=0))
