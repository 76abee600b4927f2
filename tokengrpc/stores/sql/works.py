"""What is written to the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tokengrpc.core.model import Usage, UsageReport
from tokengrpc.core.ports.ledger import UsageRecord


class Begin(msgspec.Struct, frozen=True):
    """Store the record of a generation that an engine has accepted."""

    record: UsageRecord


class Finish(msgspec.Struct, frozen=True):
    """Close a record."""

    record: UsageRecord


class Settle(msgspec.Struct, frozen=True):
    """Store the usage that an engine reported late."""

    record_id: str
    usage: UsageReport


class Checkpoint(msgspec.Struct, frozen=True):
    """Store the usage so far of open records, by record id."""

    usages: Mapping[str, Usage]


class Lose(msgspec.Struct, frozen=True):
    """Close the open records of processes that have died: with their last checkpoint, as an estimate."""

    record_ids: Sequence[str]
    seen_ns: Mapping[str, int]
    """By record id, when its process was last seen."""


class Reprice(msgspec.Struct, frozen=True):
    """Replace the costs of closed records by those of the prices in force, where there is a price."""

    record_ids: Sequence[str]


Work = Begin | Finish | Settle | Checkpoint | Lose | Reprice
