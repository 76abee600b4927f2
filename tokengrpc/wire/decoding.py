"""Decoding of records that another server has written: what they say of the state of their generation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.rpc import error_details_pb2
from msgspec import structs
from tokenstreaming.v1 import generation_pb2, token_stream_pb2

from tokengrpc import errors
from tokengrpc.core.attempts import Attempt
from tokengrpc.core.events import Event, RecordKind
from tokengrpc.core.model import Cost, LogIdentity, State, Switch, Token, ToolCallFragment, Usage, UsageSource
from tokengrpc.core.termination import Termination
from tokengrpc.wire.tables import ADVICE, DURABILITIES, FINISH_REASONS, METHODS, SOURCES

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.timestamp_pb2 import Timestamp
    from google.rpc.status_pb2 import Status
    from tokenstreaming.v1.usage_pb2 import Usage as UsageMessage

    from tokengrpc.core.ports.log import Record
    from tokengrpc.core.snapshot import GenerationSnapshot

_SECOND = 1_000_000_000


def after_record(snapshot: GenerationSnapshot, record: Record) -> GenerationSnapshot:
    """Returns the state of a generation after a record, from the state before it."""
    message = token_stream_pb2.StreamTokensResponse.FromString(record.body + record.tail)
    snapshot = structs.replace(snapshot, usage=_usage(message.usage), last_sequence=record.sequence)
    match record.kind:
        case RecordKind.STARTED:
            return _started(snapshot, message.started)
        case RecordKind.SWITCHED:
            return _with_engine(snapshot, message.engine_switched.to_engine, snapshot.timestamps.started)
        case RecordKind.FINISHED:
            return _finished(snapshot, message.finished)
    if snapshot.state is State.GENERATING:
        return snapshot
    first = _first_time(message) or snapshot.timestamps.started
    timestamps = structs.replace(snapshot.timestamps, first_token=first)
    return structs.replace(snapshot, state=State.GENERATING, timestamps=timestamps)


def event_of(record: Record) -> Event:
    """Returns the event of a record that is neither STARTED nor FINISHED, without the likeliest tokens.

    Fragments have no time.
    """
    message = token_stream_pb2.StreamTokensResponse.FromString(record.body + record.tail)
    return Event(
        record.sequence,
        record.kind,
        _usage(message.usage),
        _first_time(message),
        [_token(token) for token in message.tokens],
        [_fragment(fragment) for fragment in message.tool_call_fragments],
        _switch(message.engine_switched) if message.HasField("engine_switched") else None,
    )


def _token(token: generation_pb2.Token) -> Token:
    return Token(
        token.index,
        token.count,
        token.text,
        token.reasoning_text,
        token.refusal_text,
        id=token.id if token.HasField("id") else None,
        raw=token.raw_bytes if token.HasField("raw_bytes") else None,
        opaque=token.reasoning_opaque,
    )


def _fragment(fragment: generation_pb2.ToolCallFragment) -> ToolCallFragment:
    return ToolCallFragment(
        call_index=fragment.call_index,
        id=fragment.id,
        function_name=fragment.function_name,
        arguments=fragment.arguments_fragment,
        opaque=fragment.opaque,
    )


def _switch(switched: generation_pb2.EngineSwitched) -> Switch:
    return Switch(
        from_engine=switched.from_engine,
        to_engine=switched.to_engine,
        reason=switched.reason,
        method=METHODS.back[switched.continuation_method],
    )


def _started(snapshot: GenerationSnapshot, started: generation_pb2.Started) -> GenerationSnapshot:
    time = _ns(started.start_time)
    log = LogIdentity(incarnation=started.log_incarnation, durability=DURABILITIES.back[started.durability])
    snapshot = structs.replace(
        snapshot,
        model=started.model,
        log=log,
        state=State.PREFILLING,
        timestamps=structs.replace(snapshot.timestamps, started=time),
    )
    return _with_engine(snapshot, started.engine, time)


def _with_engine(snapshot: GenerationSnapshot, engine: str, began: int) -> GenerationSnapshot:
    attempt = Attempt(engine=engine, server=snapshot.server, began=began)
    return structs.replace(snapshot, engine=engine, attempts=(*snapshot.attempts, attempt))


def _finished(snapshot: GenerationSnapshot, finished: generation_pb2.Finished) -> GenerationSnapshot:
    termination = Termination(
        reason=FINISH_REASONS.back[finished.finish_reason],
        word=finished.engine_finish_reason,
        matched_stop=finished.matched_stop_sequence,
        error=error_of(finished.status) if finished.HasField("status") else None,
    )
    created, timing, cost = snapshot.timestamps.created, finished.timing, finished.cost
    times = structs.replace(
        snapshot.timestamps,
        first_token=created + _length(timing.time_to_first_token)
        if timing.HasField("time_to_first_token")
        else 0,
        ended=created + _length(timing.total_duration),
    )
    return structs.replace(
        snapshot,
        state=termination.state,
        termination=termination,
        timestamps=times,
        cost=Cost(cost.amount_micros, cost.currency, cost.price_version)
        if finished.HasField("cost")
        else None,
    )


def error_of(status: Status) -> errors.TokenGrpcError:
    """Returns the error that a status was made of, as far as callers can see a difference."""
    info, failure, retry, bad = (
        error_details_pb2.ErrorInfo(),
        generation_pb2.GenerationFailure(),
        error_details_pb2.RetryInfo(),
        error_details_pb2.BadRequest(),
    )
    for packed in status.details:
        for detail in (info, failure, retry, bad):
            packed.Unpack(detail)
    wait = retry.retry_delay.ToNanoseconds() / _SECOND if retry.HasField("retry_delay") else None
    return errors.told_error(
        info.reason,
        status.message,
        advice=ADVICE.back.get(failure.retry_advice, errors.Advice.NEVER),
        violations=[(each.field, each.description) for each in bad.field_violations],
        metadata=dict(info.metadata),
        retry_after=wait,
    )


def _usage(message: UsageMessage) -> Usage:
    return Usage(
        message.input_token_count,
        message.output_token_count,
        message.cached_input_token_count,
        message.cache_write_input_token_count,
        message.reasoning_token_count,
        message.overhead_token_count,
        SOURCES.back.get(message.source, UsageSource.ESTIMATED),
    )


def _first_time(message: token_stream_pb2.StreamTokensResponse) -> int:
    return _ns(message.tokens[0].emit_time) if message.tokens else 0


def _ns(time: Timestamp) -> int:
    return time.seconds * _SECOND + time.nanos


def _length(time: Duration) -> int:
    return time.seconds * _SECOND + time.nanos
