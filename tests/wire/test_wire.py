"""The hand-written encoding and the tables, compared with the contract itself."""

from __future__ import annotations

import math
from importlib import import_module

import grpc
import pytest
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st
from tokenstreaming.v1 import generation_pb2, input_pb2
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.profiles import examples
from tokengrpc import errors
from tokengrpc.core.model import Token, TopLogprob, Usage, UsageSource
from tokengrpc.core.tenant import Priority
from tokengrpc.errors import (
    EngineAborted,
    EngineProtocolError,
    EngineUnavailable,
    InvalidRequest,
    StoreUnavailable,
    TokenGrpcError,
)
from tokengrpc.rpc.interceptor import pushback_ms
from tokengrpc.wire.encoding import tail, token_body, varint
from tokengrpc.wire.parsing import parse
from tokengrpc.wire.request import generation_request
from tokengrpc.wire.status import CODES, Failure, status_of, trailer_bytes
from tokengrpc.wire.tables import ADVICE

int32 = st.integers(0, 2**31 - 1)
floats = st.floats(width=32, allow_nan=False)
optional = st.none() | st.binary(max_size=5)
tops = st.builds(TopLogprob, text=st.text(max_size=3), logprob=floats, id=st.none() | int32, raw=optional)
tokens = st.builds(
    Token,
    index=int32,
    count=st.integers(0, 300),
    text=st.text(max_size=200),
    reasoning=st.text(max_size=3),
    refusal=st.text(max_size=3),
    id=st.none() | int32,
    logprob=st.none() | floats,
    top_logprobs=st.lists(tops, max_size=3).map(tuple),
    raw=optional,
    opaque=st.binary(max_size=200),
)
usages = st.builds(
    Usage,
    input=int32,
    output=int32,
    cached_input=st.just(0) | int32,
    reasoning=st.just(0) | int32,
    source=st.sampled_from(UsageSource),
)


@given(st.lists(tokens, min_size=1, max_size=4), st.integers(0, 2**62), int32, usages)
def test_hand_written_bytes_are_the_message(sent, time_ns, sequence, usage) -> None:
    """Protobuf parses body and tail as exactly the message that they represent."""
    message = pb.StreamTokensResponse.FromString(token_body(sent, time_ns)[0] + tail(sequence, usage))
    assert message.sequence == sequence
    assert message.usage.input_token_count == usage.input
    assert message.usage.output_token_count == usage.output
    assert message.usage.cached_input_token_count == usage.cached_input
    assert message.usage.reasoning_token_count == usage.reasoning
    assert message.usage.source == usage.source
    assert len(message.tokens) == len(sent)
    for got, token in zip(message.tokens, sent, strict=True):
        assert (got.index, got.count, got.text) == (token.index, token.count, token.text)
        assert (got.reasoning_text, got.refusal_text) == (token.reasoning, token.refusal)
        assert got.reasoning_opaque == token.opaque
        assert (got.emit_time.seconds, got.emit_time.nanos) == divmod(time_ns, 10**9)
        assert (got.id if got.HasField("id") else None) == token.id
        assert (got.raw_bytes if got.HasField("raw_bytes") else None) == token.raw
        assert (got.logprob if got.HasField("logprob") else None) == token.logprob
        if token.logprob is not None:
            assert [(t.text, t.logprob) for t in got.top_logprobs] == [
                (t.text, t.logprob) for t in token.top_logprobs
            ]
            assert [t.raw_bytes if t.HasField("raw_bytes") else None for t in got.top_logprobs] == [
                t.raw for t in token.top_logprobs
            ]


@given(st.lists(st.tuples(st.lists(tokens, min_size=1, max_size=3), usages), min_size=1, max_size=5))
def test_joined_bodies_and_the_last_tail_are_one_message(events) -> None:
    """Joining: tokens are appended in order; sequence and usage are those of the last event."""
    bodies = b"".join(token_body(event_tokens, 1)[0] for event_tokens, _ in events)
    message = pb.StreamTokensResponse.FromString(bodies + tail(len(events), events[-1][1]))
    assert [t.text for t in message.tokens] == [t.text for event_tokens, _ in events for t in event_tokens]
    assert message.sequence == len(events)
    assert message.usage.output_token_count == events[-1][1].output


@given(st.integers(0, 2**63 - 1))
def test_varints(value) -> None:
    """Varints are encoded as protobuf does."""
    assert pb.GenerateTextRequest.FromString(b"\x0a\x02\x30\x01").request.max_output_token_count == 1
    assert (
        generation_pb2.Timing.FromString(
            b"\x1a" + varint(len(varint(value)) + 1) + b"\x08" + varint(value)
        ).total_duration.seconds
        == value
    )


def leaves(kind: type[TokenGrpcError]) -> list[type[TokenGrpcError]]:
    below = kind.__subclasses__()
    return [leaf for sub in below for leaf in leaves(sub)] if below else [kind]


# Whatever else a run imports, all rooms with errors of their own are imported here.
import_module("tokengrpc.generations.claims")
import_module("tokengrpc.generations.owned_log")
# These have special cases, and are raised as well.
ERRORS = [*leaves(TokenGrpcError), EngineUnavailable, EngineProtocolError, EngineAborted, StoreUnavailable]

CONTRACT: dict[str, tuple[str, str]] = {
    "InvalidRequest": ("INVALID_ARGUMENT", "NEVER"),
    "ContextLengthExceeded": ("INVALID_ARGUMENT", "NEVER"),
    "UnsupportedFeature": ("INVALID_ARGUMENT", "NEVER"),
    "EngineKeyNotAllowed": ("INVALID_ARGUMENT", "NEVER"),
    "EngineKeyRequired": ("INVALID_ARGUMENT", "NEVER"),
    "ModelNotFound": ("NOT_FOUND", "NEVER"),
    "GenerationNotFound": ("NOT_FOUND", "NEVER"),
    "GenerationIdReused": ("ALREADY_EXISTS", "NEVER"),
    "TenantExists": ("ALREADY_EXISTS", "NEVER"),
    "TenantNotFound": ("NOT_FOUND", "NEVER"),
    "ApiKeyNotFound": ("NOT_FOUND", "NEVER"),
    "SequenceOutOfRange": ("OUT_OF_RANGE", "NEVER"),
    "ReplayExpired": ("FAILED_PRECONDITION", "NEVER"),
    "Unauthenticated": ("UNAUTHENTICATED", "NEVER"),
    "ModelNotAllowed": ("PERMISSION_DENIED", "NEVER"),
    "AdminRequired": ("PERMISSION_DENIED", "NEVER"),
    "ScopeRequired": ("PERMISSION_DENIED", "NEVER"),
    "QuotaExceeded": ("RESOURCE_EXHAUSTED", "RETRY"),
    "BudgetExhausted": ("RESOURCE_EXHAUSTED", "NEVER"),
    "ReaderLimit": ("RESOURCE_EXHAUSTED", "RESUME"),
    "Overloaded": ("UNAVAILABLE", "RETRY"),
    "Draining": ("UNAVAILABLE", "RETRY"),
    "StreamDrained": ("UNAVAILABLE", "RESUME"),
    "StreamInterrupted": ("UNAVAILABLE", "RESUME"),
    "ReaderTooSlow": ("UNAVAILABLE", "RESUME"),
    "EngineUnavailable": ("UNAVAILABLE", "RETRY"),
    "EngineBusy": ("UNAVAILABLE", "RETRY"),
    "EngineLost": ("UNAVAILABLE", "RETRY"),
    "EngineTruncated": ("UNAVAILABLE", "RETRY"),
    "EngineStalled": ("UNAVAILABLE", "RETRY"),
    "EngineProtocolError": ("INTERNAL", "RETRY"),
    "AnswerMismatch": ("INTERNAL", "RETRY"),
    "EngineAborted": ("ABORTED", "RETRY"),
    "AnswerPaused": ("ABORTED", "RETRY"),
    "EngineAuthFailed": ("FAILED_PRECONDITION", "NEVER"),
    "DeadlineExceeded": ("DEADLINE_EXCEEDED", "RETRY"),
    "StreamDeadlineExceeded": ("DEADLINE_EXCEEDED", "RESUME"),
    "Cancelled": ("CANCELLED", "NEVER"),
    "DetachExpired": ("CANCELLED", "NEVER"),
    "StoreUnavailable": ("UNAVAILABLE", "RETRY"),
    "LedgerUnusable": ("UNAVAILABLE", "RETRY"),
    "RecordRefused": ("UNAVAILABLE", "RETRY"),
    "LogRefused": ("UNAVAILABLE", "RETRY"),
    "LogMoved": ("UNAVAILABLE", "RETRY"),
    "BegunElsewhere": ("UNAVAILABLE", "RETRY"),
    "LogLost": ("UNAVAILABLE", "RETRY"),
    "Internal": ("INTERNAL", "RETRY"),
    "ServerLost": ("UNAVAILABLE", "RETRY"),
    "LogDiverged": ("DATA_LOSS", "RETRY"),
}
"""The contract's error table, written a second time: the code's tables cannot prove themselves."""


def detail(status, kind):
    for packed in status.details:
        if packed.Is(kind.DESCRIPTOR):
            found = kind()
            packed.Unpack(found)
            return found
    return None


def make(kind: type[TokenGrpcError], **more) -> TokenGrpcError:
    return kind([("field", "is wrong")]) if kind is InvalidRequest else kind("what happened", **more)


def test_every_error_is_in_the_table() -> None:
    """No error without a row, no row without an error, no code without a reason."""
    assert {kind.__name__ for kind in ERRORS} == set(CONTRACT)
    assert {kind.reason for kind in ERRORS} == set(CODES)


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_error_table(kind) -> None:
    """Each error has its code, reason, domain and advice, and names its generation."""
    code, advice = CONTRACT[kind.__name__]
    status = status_of(make(kind), Failure(generation_id="g", last_sequence=3, ended=False))
    assert grpc.StatusCode[code].value[0] == status.code
    info = detail(status, error_details_pb2.ErrorInfo)
    assert (info.domain, info.reason) == ("tokengrpc", kind.reason)
    failure = detail(status, generation_pb2.GenerationFailure)
    assert (failure.generation_id, failure.last_sequence) == ("g", 3)
    assert ADVICE.back[failure.retry_advice].name == advice
    assert (pushback_ms(make(kind), ended=False) == -1) == (advice == "NEVER")
    assert pushback_ms(make(kind), ended=True) == -1


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("filler", ["x", "é", "\n", "\U0001f600"])
def test_errors_fit_into_trailers(kind, filler) -> None:
    """Whatever an engine or a caller put into it: message ≤ 1 KiB, trailers ≤ 4 KiB, one line."""
    long = filler * 20_000
    error = make(kind)
    if isinstance(error, InvalidRequest):
        error = InvalidRequest([(long, long)] * 500)
    else:
        error = kind(long, metadata={f"{i}{long}": long for i in range(99)}, retry_after=1.5)
    status = status_of(error, Failure(generation_id="g" * 128))
    assert len(status.message.encode()) <= 1024
    assert "\n" not in status.message
    assert trailer_bytes(status) <= 4096 - 256
    bad = detail(status, error_details_pb2.BadRequest)
    assert bad is None or len(bad.field_violations) <= 16


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_errors_cannot_control_a_terminal(kind) -> None:
    """Whatever a caller or an engine sent: callers print their errors, and so do their logs."""
    nasty = "a\x1b[2J\u202eb\x9b"
    error = make(kind, metadata={nasty: nasty}) if kind is not InvalidRequest else kind([(nasty, nasty)])
    error.message = nasty
    status = status_of(error, Failure(generation_id=nasty))
    printed = [status.message, *(str(detail.value, "latin-1") for detail in status.details)]
    assert not set("".join(printed)) & set("\x1b\x9b")
    assert r"\x1b[2J\u202eb" in status.message
    assert detail(status, generation_pb2.GenerationFailure).generation_id == r"a\x1b[2J\u202eb\x9b"


def test_excess_stop_sequences_are_not_checked() -> None:
    """Only the allowed number is checked, so that the caller's input does not determine the time."""
    crowd = pb.StreamTokensRequest(prompt="a", sampling={"stop_sequences": [""] * 100_000})
    with pytest.raises(InvalidRequest) as refused:
        generation_request(crowd)
    assert len(refused.value.violations) == 17


def test_unknown_fields_are_named() -> None:
    """Fields of a later contract are refused at any depth, by their path and number."""
    later = b"\x0a\x01g" + b"\x22\x07\x0a\x05\xa2\x06\x02hi" + b"\xf8\x07\x01"
    with pytest.raises(InvalidRequest) as caught:
        parse(pb.StreamTokensRequest, later)
    assert [path for path, _ in caught.value.violations] == ["127", "conversation.messages[0].100"]


@examples(2000)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_request_or_refused(data) -> None:
    """No bytes make the parser or the checks fail in another way."""
    try:
        generation_request(parse(pb.StreamTokensRequest, data))
    except InvalidRequest as refused:
        assert refused.violations  # noqa: PT017 - either outcome is right


def test_a_session_id_is_part_of_the_request() -> None:
    """Up to 128 characters."""
    longest = "é" * 128
    assert generation_request(pb.StreamTokensRequest(prompt="p", session_id=longest)).session_id == longest


def test_equal_requests_have_equal_fingerprints() -> None:
    """Requests are equal if their parsed messages are, in whatever order maps and fields were written."""
    one = pb.StreamTokensRequest(prompt="p", labels={"a": "1", "b": "2"})
    two = pb.StreamTokensRequest(labels={"b": "2", "a": "1"}, prompt="p")
    three = pb.StreamTokensRequest(prompt="p", labels={"a": "1", "b": "2"}, max_output_token_count=1)
    assert generation_request(one).fingerprint == generation_request(two).fingerprint
    assert generation_request(one).fingerprint != generation_request(three).fingerprint


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (input_pb2.PRIORITY_UNSPECIFIED, Priority.STANDARD),
        (input_pb2.PRIORITY_INTERACTIVE, Priority.INTERACTIVE),
        (input_pb2.PRIORITY_STANDARD, Priority.STANDARD),
        (input_pb2.PRIORITY_BATCH, Priority.BATCH),
    ],
)
def test_a_priority_is_read_and_is_no_part_of_the_fingerprint(sent, read) -> None:
    """When a request is served does not change its output: with another priority it attaches."""
    message = pb.StreamTokensRequest(prompt="p", priority=sent)
    request = generation_request(message)
    assert request.priority is read
    assert request.fingerprint == generation_request(pb.StreamTokensRequest(prompt="p")).fingerprint


def _set(path: str, value) -> pb.StreamTokensRequest:
    message = pb.StreamTokensRequest(prompt="p")
    *parents, name = path.split(".")
    target = message
    for parent in parents:
        target = getattr(target, parent)
    if isinstance(value, dict):
        getattr(target, name).update(value)
    elif isinstance(value, list):
        getattr(target, name).extend(value)
    else:
        setattr(target, name, value)
    return message


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("generation_id", "a b"),
        ("generation_id", "x" * 129),
        ("prompt", ""),
        ("session_id", "é" * 129),
        ("priority", 9),
        ("max_output_token_count", 0),
        ("sampling.temperature", 2.1),
        ("sampling.temperature", math.nan),
        ("sampling.top_p", 0.0),
        ("sampling.top_k", 0),
        ("sampling.min_p", -0.1),
        ("sampling.presence_penalty", 3.0),
        ("sampling.stop_sequences", [""]),
        ("sampling.stop_sequences", ["x"] * 17),
        ("sampling.logit_bias", {5: 101.0}),
        ("reasoning.effort", 77),
        ("reasoning.token_budget", 0),
        ("output.top_logprob_count", 21),
        ("limits.time_limit.seconds", -1),
        ("limits.deadline_action", 9),
        ("recovery.disconnect_action", 9),
        ("recovery.max_engine_switch_count", 9),
        ("recovery.detach_ttl.seconds", 5),
        ("tool_choice.function_name", "f"),
        ("output_constraint.json_schema", "[1]"),
        ("output_constraint.regex", ""),
        ("engine_params", {"temperature": 1}),
        ("labels", {"k" * 64: "v"}),
        ("labels", {str(i): "v" for i in range(17)}),
        ("prompt_token_ids.ids", [-1]),
    ],
)
def test_bounds_of_fields(path, value) -> None:
    """The error for a value outside a field's bounds names the field's path."""
    with pytest.raises(InvalidRequest) as caught:
        generation_request(_set(path, value))
    found = [field.split("[")[0] for field, _ in caught.value.violations]
    wanted = path.removesuffix(".seconds") if path.endswith(".seconds") else path
    assert any(field.startswith(wanted.split("[")[0]) for field in found), found


def test_reasons_are_documented() -> None:
    """Callers depend on the reasons' names, which must not change by accident."""
    assert errors.InvalidRequest.reason == "INVALID_REQUEST"
    assert len({kind.reason for kind in ERRORS}) == len(CODES)
