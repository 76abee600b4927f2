"""The decision tables of event stores, row by row."""

from __future__ import annotations

import pytest

from tokengrpc.core.log_decisions import (
    ClaimDecision,
    Ownership,
    decide_append,
    decide_claim,
    decide_renewal,
    decide_takeover,
)
from tokengrpc.core.ports.log import AppendStatus, LeaseStatus, TakeoverStatus

MINE, OLDER, OTHERS, NOBODYS = Ownership("a", 2), Ownership("a", 1), Ownership("b", 2), Ownership("", 2)


@pytest.mark.parametrize(
    ("log", "same_log", "decision"),
    [
        (None, False, ClaimDecision.CREATED),
        (OTHERS, True, ClaimDecision.REFUSED),
        (NOBODYS, True, ClaimDecision.REFUSED),
        (MINE, True, ClaimDecision.REPEATED),
        (MINE, False, ClaimDecision.REPLACED),
    ],
)
def test_claims(log, same_log, decision) -> None:
    """The table of `EventSink.claim`."""
    assert decide_claim(log, "a", same_log=same_log) is decision


@pytest.mark.parametrize(
    ("log", "last", "records", "cancelled", "status"),
    [
        (None, 0, (1, 1), False, AppendStatus.UNKNOWN),
        (OLDER, 3, (4, 4), False, AppendStatus.FENCED),
        (OTHERS, 3, (4, 4), False, AppendStatus.FENCED),
        (NOBODYS, 3, (1, 3), True, AppendStatus.FENCED),
        (MINE, 3, (5, 6), True, AppendStatus.HOLE),
        (MINE, 3, (1, 3), True, AppendStatus.REPEATED),
        (MINE, 3, (2, 4), True, AppendStatus.CANCEL_REQUESTED),
        (MINE, 3, (4, 5), False, AppendStatus.OK),
        (MINE, 0, (1, 1), False, AppendStatus.OK),
    ],
)
def test_appends(log, last, records, cancelled, status) -> None:
    """The table of `EventSink.append`."""
    assert decide_append(log, last, MINE, records, cancelled=cancelled) is status


@pytest.mark.parametrize(
    ("log", "cancelled", "status"),
    [
        (None, False, LeaseStatus.UNKNOWN),
        (OLDER, True, LeaseStatus.FENCED),
        (OTHERS, False, LeaseStatus.FENCED),
        (NOBODYS, False, LeaseStatus.FENCED),
        (MINE, True, LeaseStatus.CANCEL_REQUESTED),
        (MINE, False, LeaseStatus.HELD),
    ],
)
def test_renewals(log, cancelled, status) -> None:
    """The table of `EventSink.renew`."""
    assert decide_renewal(log, MINE, cancelled=cancelled) is status


def test_a_fence_outlives_the_log() -> None:
    """An owner before the one that ended the generation is fenced; that one, and later ones, are not."""
    for fence, appended, renewed in (
        (3, AppendStatus.FENCED, LeaseStatus.FENCED),
        (2, AppendStatus.UNKNOWN, LeaseStatus.UNKNOWN),
        (1, AppendStatus.UNKNOWN, LeaseStatus.UNKNOWN),
    ):
        assert decide_append(None, 0, MINE, (1, 1), cancelled=False, fence=fence) is appended
        assert decide_renewal(None, MINE, cancelled=False, fence=fence) is renewed


@pytest.mark.parametrize(
    ("log", "epoch", "leased", "ended", "status"),
    [
        (None, 1, False, False, TakeoverStatus.UNKNOWN),
        (MINE, 1, True, True, TakeoverStatus.ENDED),
        (MINE, 1, True, False, TakeoverStatus.TAKEN),
        (OTHERS, 1, False, False, TakeoverStatus.MOVED),
        (OTHERS, 3, False, False, TakeoverStatus.MOVED),
        (OTHERS, 2, True, False, TakeoverStatus.HELD),
        (OTHERS, 2, False, False, TakeoverStatus.TAKEN),
        (NOBODYS, 2, False, False, TakeoverStatus.TAKEN),
    ],
)
def test_takeovers(log, epoch, leased, ended, status) -> None:
    """The table of `EventSink.take_over`."""
    assert decide_takeover(log, "a", epoch, leased=leased, ended=ended) is status
