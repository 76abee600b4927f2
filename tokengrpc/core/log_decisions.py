"""Decisions of event stores: what a claim, an append, a renewal or a takeover does to a log.

The store in memory asks these tables; the scripts of other stores are tested against them.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from tokengrpc.core.ports.log import AppendStatus, LeaseStatus, TakeoverStatus


class Ownership(NamedTuple):
    """The owner that a log has, or that a caller takes itself for. `owner` is empty after a release."""

    owner: str
    epoch: int


class ClaimDecision(Enum):
    """What a claim does: creates the log, keeps it, makes it anew, or leaves it to its owner."""

    CREATED = "created"
    REPEATED = "repeated"
    REPLACED = "replaced"
    REFUSED = "refused"


def decide_claim(log: Ownership | None, replica: str, *, same_log: bool) -> ClaimDecision:
    """Decides a claim by a replica; `same_log` if the log has its incarnation. See `EventSink.claim`."""
    if log is None:
        return ClaimDecision.CREATED
    if log.owner != replica:
        return ClaimDecision.REFUSED
    return ClaimDecision.REPEATED if same_log else ClaimDecision.REPLACED


def decide_append(
    log: Ownership | None,
    last: int,
    caller: Ownership,
    records: tuple[int, int],
    *,
    cancelled: bool,
    fence: int = 0,
) -> AppendStatus:
    """Decides an append of `records` (first and last sequence) to a log that ends at `last`.

    Of records that overlap with the log, those after its last one are appended. `fence` is the epoch of the
    owner that ended a generation whose log is no longer there, 0 for none. See `EventSink.append`.
    """
    if log is None:
        return AppendStatus.FENCED if fence > caller.epoch else AppendStatus.UNKNOWN
    if log != caller:
        return AppendStatus.FENCED
    if records[0] > last + 1:
        return AppendStatus.HOLE
    if records[1] <= last:
        return AppendStatus.REPEATED
    return AppendStatus.CANCEL_REQUESTED if cancelled else AppendStatus.OK


def decide_renewal(
    log: Ownership | None, caller: Ownership, *, cancelled: bool, fence: int = 0
) -> LeaseStatus:
    """Decides a renewal; `fence` as for `decide_append`. See `EventSink.renew`."""
    if log is None:
        return LeaseStatus.FENCED if fence > caller.epoch else LeaseStatus.UNKNOWN
    if log != caller:
        return LeaseStatus.FENCED
    return LeaseStatus.CANCEL_REQUESTED if cancelled else LeaseStatus.HELD


def decide_takeover(
    log: Ownership | None, replica: str, epoch: int, *, leased: bool, ended: bool
) -> TakeoverStatus:
    """Decides the takeover of the log that had this epoch, by a replica. See `EventSink.take_over`."""
    if log is None:
        return TakeoverStatus.UNKNOWN
    if ended:
        return TakeoverStatus.ENDED
    if log == (replica, epoch + 1):
        return TakeoverStatus.TAKEN
    if log.epoch != epoch:
        return TakeoverStatus.MOVED
    return TakeoverStatus.HELD if leased else TakeoverStatus.TAKEN
