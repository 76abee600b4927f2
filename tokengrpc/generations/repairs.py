"""Repairs of logs that lost events: what readers here have seen is written again by the log's next owner."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import structlog

from tokengrpc.errors import LogDiverged, ReplayExpired

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.core.ports.log import EventSink, Record
    from tokengrpc.generations.follower import Follower
    from tokengrpc.generations.patience import StorePatience

log = structlog.get_logger(__name__)


async def append_shown(
    sink: EventSink, patience: StorePatience, follower: Follower, epoch: int, logged: Sequence[Record]
) -> Sequence[Record]:
    """Appends the events that a follower has and its log has not, as after a failover. Returns them.

    `epoch` is that in which this server owns the log, `logged` all that the log has. If the log has other
    events than those that readers here have seen, the follower ends: they resume, and get LOG_DIVERGED.
    Raises StoreUnavailable.
    """
    buffer = follower.subscribers.buffer
    after = logged[-1].sequence if logged else 0
    if buffer.last_sequence <= after:
        return ()
    lost: list[Record] = []
    if not logged or buffer.tail(after) == logged[-1].tail:
        try:
            while (last := lost[-1].sequence if lost else after) < buffer.last_sequence:
                lost += buffer.records(last, sys.maxsize)
        except ReplayExpired:
            log.warning("the event log lost events that this server no longer keeps", after=after)
    if not lost:
        follower.interrupt(LogDiverged("the event store lost events that you have received: start again"))
        return ()
    log.warning("the event log lost events: writing them again", after=after)
    await patience.retry(lambda: sink.append(follower.key, epoch, lost))
    return lost
