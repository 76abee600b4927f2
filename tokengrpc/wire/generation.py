"""Conversion of generations, their ends and usage, and models to protobuf."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from msgspec import structs
from tokenstreaming.v1 import generation_pb2, model_pb2, usage_pb2

from tokengrpc.wire.status import Failure, status_of
from tokengrpc.wire.tables import CAPABILITIES, DURABILITIES, FINISH_REASONS, METHODS, SOURCES, STATES

if TYPE_CHECKING:
    from google.rpc.status_pb2 import Status

    from tokengrpc.core.attempts import Attempt
    from tokengrpc.core.catalog import ServedModel
    from tokengrpc.core.model import Capability, Cost, Switch, Usage
    from tokengrpc.core.snapshot import GenerationSnapshot

_SECOND = 1_000_000_000
_ENGINE_WORD_LENGTH = 64


def timestamp(time_ns: int) -> Timestamp | None:
    """Converts a time; None (unset) for 0."""
    return Timestamp(seconds=time_ns // _SECOND, nanos=time_ns % _SECOND) if time_ns else None


def duration(start_ns: int, end_ns: int) -> Duration | None:
    """Converts the time between start and end; None (unset) if the end is 0."""
    passed = end_ns - start_ns
    return Duration(seconds=passed // _SECOND, nanos=passed % _SECOND) if end_ns else None


def usage_message(usage: Usage) -> usage_pb2.Usage:
    """Converts cumulative usage."""
    return usage_pb2.Usage(**usage_fields(usage))


def usage_fields(usage: Usage) -> dict[str, Any]:
    """Returns the counts and their source, by the names of the fields that messages have for them."""
    return {
        "input_token_count": usage.input,
        "output_token_count": usage.output,
        "cached_input_token_count": usage.cached_input,
        "cache_write_input_token_count": usage.cache_write_input,
        "reasoning_token_count": usage.reasoning,
        "overhead_token_count": usage.overhead,
        "source": SOURCES.there[usage.source],
    }


def cost_message(cost: Cost | None) -> usage_pb2.Cost | None:
    """Converts a cost; None (unset) without a price."""
    if cost is None:
        return None
    return usage_pb2.Cost(
        amount_micros=cost.amount_micros, currency=cost.currency, price_version=cost.price_version
    )


def failure_of(snapshot: GenerationSnapshot) -> Failure:
    """Returns the details about a generation that a failed call reports."""
    return Failure(
        generation_id=snapshot.generation_id,
        last_sequence=snapshot.last_sequence,
        usage=usage_message(snapshot.usage) if snapshot.started else None,
        # A generation that no engine accepted does not count as ended: its id is free, so the same call may
        # succeed.
        ended=snapshot.complete and snapshot.started,
    )


def final_status(snapshot: GenerationSnapshot) -> Status | None:
    """Returns the status of a failed or cancelled generation; None if it succeeded or has not ended."""
    termination = snapshot.termination
    if termination is None or termination.error is None:
        return None
    return status_of(termination.error, failure_of(structs.replace(snapshot, complete=True)))


def engine_started(snapshot: GenerationSnapshot) -> generation_pb2.Started:
    """Converts the first event."""
    return generation_pb2.Started(
        generation_id=snapshot.generation_id,
        model=snapshot.model,
        engine=snapshot.engine,
        start_time=timestamp(snapshot.timestamps.started),
        log_incarnation=snapshot.log.incarnation,
        durability=DURABILITIES.there[snapshot.log.durability],
    )


def engine_switched(switch: Switch) -> generation_pb2.EngineSwitched:
    """Converts the event that another engine continues."""
    return generation_pb2.EngineSwitched(
        from_engine=switch.from_engine,
        to_engine=switch.to_engine,
        reason=switch.reason,
        continuation_method=METHODS.there[switch.method],
    )


def finished(snapshot: GenerationSnapshot) -> generation_pb2.Finished | None:
    """Converts the last event; None if the generation has not ended."""
    termination, timestamps = snapshot.termination, snapshot.timestamps
    if termination is None:
        return None
    return generation_pb2.Finished(
        finish_reason=FINISH_REASONS.there[termination.reason],
        engine_finish_reason=termination.word[:_ENGINE_WORD_LENGTH],
        matched_stop_sequence=termination.matched_stop,
        status=final_status(snapshot),
        timing=generation_pb2.Timing(
            queue_duration=duration(timestamps.created, timestamps.started),
            time_to_first_token=duration(timestamps.created, timestamps.first_token),
            total_duration=duration(timestamps.created, timestamps.ended),
        ),
        cost=cost_message(snapshot.cost),
    )


def generation_message(snapshot: GenerationSnapshot) -> generation_pb2.Generation:
    """Converts the current state of a generation."""
    timestamps = snapshot.timestamps
    return generation_pb2.Generation(
        generation_id=snapshot.generation_id,
        model=snapshot.model,
        state=STATES.there[snapshot.state],
        usage=usage_message(snapshot.usage),
        first_kept_sequence=snapshot.first_kept_sequence,
        last_sequence=snapshot.last_sequence,
        reader_count=snapshot.subscription_count,
        create_time=timestamp(timestamps.created),
        start_time=timestamp(timestamps.started),
        first_token_time=timestamp(timestamps.first_token),
        end_time=timestamp(timestamps.ended),
        labels=snapshot.labels,
        finished=finished(snapshot),
        engine=snapshot.engine,
        log_incarnation=snapshot.log.incarnation,
        durability=DURABILITIES.there[snapshot.log.durability],
        server=snapshot.server,
        attempts=map(attempt_message, snapshot.attempts),
    )


def attempt_message(attempt: Attempt) -> generation_pb2.Attempt:
    """Converts the call of an engine."""
    return generation_pb2.Attempt(
        engine=attempt.engine,
        server=attempt.server,
        start_time=timestamp(attempt.began),
        end_time=timestamp(attempt.ended),
        output_token_count=attempt.output,
        error_reason=attempt.error_reason,
        response_id=attempt.response_id,
    )


def model_message(model: ServedModel, *, is_default: bool) -> model_pb2.Model:
    """Converts a model and its engines."""
    return model_pb2.Model(
        name=model.name,
        is_default=is_default,
        engines=[
            model_pb2.ModelEngine(
                name=pooled.engine.name,
                kind=pooled.engine.kind,
                health=_HEALTH[pooled.healthy],
                capabilities=_capabilities(pooled.engine.capabilities),
            )
            for pooled in model.pool.engines
        ],
        context_token_count=model.context_token_count,
        tokenizer=model.tokenizer.name if model.tokenizer.exact else "",
        capabilities=_capabilities(model.capabilities),
    )


def _capabilities(known: frozenset[Capability]) -> list[model_pb2.Capability]:
    return sorted(CAPABILITIES.there[capability] for capability in known)


_HEALTH = {
    None: model_pb2.ENGINE_HEALTH_UNSPECIFIED,
    True: model_pb2.ENGINE_HEALTH_HEALTHY,
    False: model_pb2.ENGINE_HEALTH_UNHEALTHY,
}
