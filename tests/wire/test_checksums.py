"""The checksum in the tail of each record, compared with that which a reader computes from the messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.checksums import ChecksumReader, checksum_of
from tokengrpc.core.events import Event, RecordKind
from tokengrpc.core.model import (
    ContinuationMethod,
    State,
    Switch,
    Token,
    ToolCallFragment,
    Usage,
)
from tokengrpc.generations.packed import PackedRecords
from tokengrpc.wire.encoding import ProtobufEncoder

if TYPE_CHECKING:
    from tokengrpc.core.ports.log import Record

ENCODER = ProtobufEncoder()
SWITCH = Switch(from_engine="a", to_engine="b", reason="ENGINE_LOST", method=ContinuationMethod.TOKEN_IDS)

texts = st.text(max_size=4)
# Only the text of the answer is sure to have no half of a surrogate pair; elsewhere it is sent as `?`.
loose_texts = st.text(st.characters(categories=("L", "P", "Cs")), max_size=4)
tokens = st.builds(
    Token, index=st.just(0), count=st.just(1), text=texts, reasoning=loose_texts, refusal=loose_texts
)
fragments = st.builds(
    ToolCallFragment,
    call_index=st.just(0),
    id=texts,
    function_name=texts,
    arguments=texts,
    opaque=st.binary(),
)
contents = (
    st.lists(tokens, min_size=1, max_size=3).map(lambda some: (RecordKind.TOKENS, some, (), None))
    | st.lists(fragments, min_size=1, max_size=2).map(lambda some: (RecordKind.FRAGMENTS, (), some, None))
    | st.just((RecordKind.SWITCHED, (), (), SWITCH))
)


def events_of(some: list[tuple]) -> list[Event]:
    return [
        Event(number, kind, Usage(), 1, tokens, fragments, switch)
        for number, (kind, tokens, fragments, switch) in enumerate(some, 1)
    ]


def message(record: Record) -> pb.StreamTokensResponse:
    return pb.StreamTokensResponse.FromString(record.body + record.tail)


@given(st.lists(contents, max_size=8), st.integers(1, 80))
def test_each_message_has_the_checksum_of_its_output(some, max_bytes) -> None:
    """One by one and joined, a reader computes the same. No message has both tokens and fragments."""
    records = ENCODER.recorder().records(events_of(some))
    reader = ChecksumReader()
    for record in records:
        reader.take(message(record))
        assert (ENCODER.checksum(record.tail) or 0) == reader.checksum
    packed, behind, position = PackedRecords(), ChecksumReader(), 0
    packed.extend(records)
    while position < len(packed):
        count, data = packed.message(position, max_bytes)
        behind.take(pb.StreamTokensResponse.FromString(data))
        position += count
    assert behind.checksum == reader.checksum


@given(st.lists(contents, min_size=1, max_size=6), st.data())
def test_a_recorder_continues_after_any_record(some, data) -> None:
    """As after an end whose last events no reader got, or on another server."""
    events = events_of(some)
    records = ENCODER.recorder().records(events)
    cut = data.draw(st.integers(0, len(events)))
    last_tail = records[cut - 1].tail if cut else b""
    assert ENCODER.recorder(last_tail).records(events[cut:]) == records[cut:]


@given(st.lists(contents, min_size=1, max_size=3))
def test_notices_have_no_checksum(some) -> None:
    """They repeat the sequence and the usage of the last message, and nothing else."""
    last = ENCODER.recorder().records(events_of(some))[-1]
    data = ENCODER.notice(last.tail, ENCODER.attached(State.GENERATING, 7, "log"))
    notice = pb.StreamTokensResponse.FromString(data)
    assert not notice.HasField("output_checksum")
    assert (notice.sequence, notice.usage) == (last.sequence, message(last).usage)
    assert (notice.attached.last_sequence, notice.attached.log_incarnation) == (7, "log")
    told = pb.StreamTokensResponse.FromString(
        ENCODER.notice(b"", ENCODER.heartbeat(State.QUEUED, 7))
    ).heartbeat
    assert told.queue_position == 7


@pytest.mark.parametrize(
    ("kind", "tokens", "fragments"),
    [
        (RecordKind.TOKENS, [Token(0, 1, "a", "b", "c"), Token(1, 1, "d", "\ud800")], ()),
        (
            RecordKind.FRAGMENTS,
            (),
            [ToolCallFragment(call_index=0, id="ab", function_name="c", arguments="d?")],
        ),
    ],
)
def test_the_order_of_the_texts(kind, tokens, fragments) -> None:
    """Token by token, and fragment by fragment, in the order of the contract."""
    (record,) = ENCODER.recorder().records([Event(1, kind, Usage(), 1, tokens, fragments)])
    whole = pb.StreamTokensResponse(tokens=[{"text": "abcd?"}])
    assert ENCODER.checksum(record.tail) == message(record).output_checksum == checksum_of([whole])


def test_no_output_has_no_checksum() -> None:
    """But output without a text has one, which is 0."""
    (switch,) = ENCODER.recorder().records(events_of([(RecordKind.SWITCHED, (), (), SWITCH)]))
    assert ENCODER.checksum(switch.tail) is None
    assert not message(switch).HasField("output_checksum")
    (empty,) = ENCODER.recorder().records(events_of([(RecordKind.TOKENS, [Token(0, 1, "")], (), None)]))
    assert ENCODER.checksum(empty.tail) == 0
    assert message(empty).HasField("output_checksum")
