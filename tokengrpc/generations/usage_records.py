"""The usage record of a generation, as the ledger and observers get it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokengrpc.core.model import FinishReason
from tokengrpc.core.ports.ledger import UsageRecord
from tokengrpc.core.termination import Termination
from tokengrpc.errors import LogDiverged, ServerLost, told_error

if TYPE_CHECKING:
    from tokengrpc.core.generation import Generation
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.generations.buffer import EventBuffer
    from tokengrpc.generations.services import Services
    from tokengrpc.generations.spec import GenerationSpec


def usage_record(
    spec: GenerationSpec, generation: Generation, services: Services, buffer: EventBuffer, delivered: int
) -> UsageRecord:
    """Returns the record as of now. `delivered` is the last sequence that any reader got."""
    request, termination = spec.request, generation.termination
    return UsageRecord(
        record_id=request.record_id,
        generation_id=spec.key.generation_id,
        tenant=spec.key.tenant,
        model=spec.model.name,
        labels=dict(request.labels),
        create_time_ns=generation.timestamps.created,
        usage=generation.usage,
        end_time_ns=generation.timestamps.ended or None,
        finish_reason=termination.reason if termination else None,
        first_token_time_ns=generation.timestamps.first_token or None,
        error_reason=termination.error.reason if termination and termination.error else "",
        input_is_cut=generation.input_is_cut and not request.has_image,
        engines=generation.attempts.engines,
        attempts=generation.attempts.at(generation.usage.output),
        server=services.server,
        session_id=request.session_id,
        event_bytes=buffer.event_bytes,
        delivered_sequence=delivered,
        cost=generation.cost,
        priority=request.priority,
    )


def recorded_end(record: UsageRecord, request: GenerationRequest, buffer: EventBuffer) -> Termination | None:
    """Returns the end that an earlier server recorded before it died, and which is not in the log.

    None if the log has more than was recorded: a server had gone on before the record was closed. `buffer`
    has the events of the log.
    """
    if record.event_bytes < buffer.event_bytes:
        return None
    if record.event_bytes > buffer.event_bytes:
        return Termination.failed(LogDiverged("the event store has lost events of this generation"))
    if request.sampling.stop_sequences:  # the last text may have been withheld
        return Termination.failed(ServerLost("the server died at the end of the generation: start again"))
    if not record.error_reason:
        return Termination(reason=record.finish_reason or FinishReason.ERROR)
    message = "the generation had ended with this error when its server died"
    return Termination.failed(told_error(record.error_reason, message))
