"""Conversion of a usage record to the Generation that it tells of, whose events are no longer kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.rpc.status_pb2 import Status
from tokenstreaming.v1 import generation_pb2

from tokengrpc.core.model import FinishReason, State
from tokengrpc.core.ports.ledger import RecordState
from tokengrpc.wire.generation import attempt_message, cost_message, duration, timestamp, usage_message
from tokengrpc.wire.status import CODES, Code
from tokengrpc.wire.tables import FINISH_REASONS, STATES

if TYPE_CHECKING:
    from tokengrpc.core.ports.ledger import UsageRecord


def past_generation(record: UsageRecord) -> generation_pb2.Generation:
    """Converts a record. No event is kept, so sequences and the number of readers are 0."""
    return generation_pb2.Generation(
        generation_id=record.generation_id,
        model=record.model,
        state=STATES.there[_state(record)],
        usage=usage_message(record.usage),
        create_time=timestamp(record.create_time_ns),
        first_token_time=timestamp(record.first_token_time_ns or 0),
        end_time=timestamp(record.end_time_ns or 0),
        labels=record.labels,
        finished=_finished(record),
        engine=record.engines[-1] if record.engines else "",
        server=record.server,
        attempts=map(attempt_message, record.attempts),
    )


def _state(record: UsageRecord) -> State:
    if record.state is RecordState.OPEN:
        return State.GENERATING
    if record.finish_reason is FinishReason.CANCELLED:
        return State.CANCELLED
    return State.FAILED if record.lost or record.error_reason else State.SUCCEEDED


def _finished(record: UsageRecord) -> generation_pb2.Finished | None:
    """Returns how the generation ended; None if that is not known, because it runs or its server died."""
    if record.finish_reason is None:
        return None
    created = record.create_time_ns
    return generation_pb2.Finished(
        finish_reason=FINISH_REASONS.there[record.finish_reason],
        status=_status(record.error_reason) if record.error_reason else None,
        timing=generation_pb2.Timing(
            time_to_first_token=duration(created, record.first_token_time_ns or 0),
            total_duration=duration(created, record.end_time_ns or 0),
        ),
        cost=cost_message(record.cost),
    )


def _status(reason: str) -> Status:
    """Returns the status of a failure of which only the reason is kept. A newer server's may be unknown."""
    code = {str(known): code for known, code in CODES.items()}.get(reason, Code.UNKNOWN)
    return Status(code=code, message=f"the generation ended with {reason}; its message is no longer kept")
