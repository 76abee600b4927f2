"""Encoding of events, once each. Tokens are encoded by hand, four times faster than with message objects.

The body of a record contains the event, its tail `output_checksum`, `sequence` and `usage`. The concatenation
of both, or of several bodies and the last tail, is one StreamTokensResponse. Tests compare the field numbers
with the contract.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING
from zlib import crc32

from google.protobuf.timestamp_pb2 import Timestamp
from tokenstreaming.v1 import generation_pb2, token_stream_pb2

from tokengrpc.core.events import RecordKind
from tokengrpc.core.ports.log import Record
from tokengrpc.wire.decoding import after_record, event_of
from tokengrpc.wire.generation import engine_started, engine_switched, finished, usage_message
from tokengrpc.wire.parsing import parse
from tokengrpc.wire.raw_fields import MAX_FIELDS
from tokengrpc.wire.request import generation_request
from tokengrpc.wire.tables import STATES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokengrpc.core.events import Event
    from tokengrpc.core.model import State, Token, ToolCallFragment, TopLogprob, Usage
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.core.snapshot import GenerationSnapshot


def _varint(value: int) -> bytes:
    if value < 0:
        value += 1 << 64
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


class _Varints(dict[int, bytes]):
    """Table of small varints, which encodes all others when asked for them."""

    def __missing__(self, value: int) -> bytes:
        return _varint(value)


varint: Callable[[int], bytes] = _Varints((value, _varint(value)) for value in range(1 << 14)).__getitem__
"""Encodes a protobuf varint. For the small ones, this is the table's look-up, without a call of Python."""


_FLOAT_MAX = 3.4028234663852886e38

_second = (0, b"\x32\x08\x08\x00\x10")  # the latest one encoded, and what precedes its nanoseconds


def _timestamp(time_ns: int) -> bytes:
    """Encodes the field Token.emit_time (number 6).

    Nanoseconds are a varint padded to five bytes, as the format allows. This needs no loop and no branch.
    """
    global _second  # noqa: PLW0603 - thousands of tokens share a second, and one event loop encodes them all
    seconds, nanos = divmod(time_ns, 1_000_000_000)
    if seconds != _second[0]:
        varint_of_second = _varint(seconds)
        _second = (seconds, b"\x32%c\x08%b\x10" % (len(varint_of_second) + 7, varint_of_second))
    spread = (
        nanos & 0x7F
        | (nanos & 0x3F80) << 1
        | (nanos & 0x1FC000) << 2
        | (nanos & 0xFE00000) << 3
        | (nanos & 0x7F0000000) << 4
        | 0x0080808080
    )
    return _second[1] + spread.to_bytes(5, "little")


def _float(value: float) -> bytes:
    """Encodes a 32-bit float. A finite number out of range becomes the largest float of its sign."""
    if _FLOAT_MAX < abs(value) < math.inf:
        value = math.copysign(_FLOAT_MAX, value)
    return struct.pack("<f", value)


def _text(tag: bytes, text: str) -> bytes:
    data = text.encode(errors="replace")
    return b"%b%b%b" % (tag, varint(len(data)), data) if data else b""


def _top_logprob(top: TopLogprob) -> bytes:
    inner = _text(b"\x0a", top.text) + b"\x15" + _float(top.logprob)
    if top.id is not None:
        inner += b"\x18" + varint(top.id)
    if top.raw is not None:
        inner += b"\x22" + varint(len(top.raw)) + top.raw
    return b"\x4a%b%b" % (varint(len(inner)), inner)


def _details(token: Token) -> bytes:
    parts = [_text(b"\x22", token.reasoning), _text(b"\x2a", token.refusal)]
    if token.id is not None:
        parts.append(b"\x38" + varint(token.id))
    if token.logprob is not None:
        parts.append(b"\x45" + _float(token.logprob))
        parts.extend(_top_logprob(top) for top in token.top_logprobs)
    if token.raw is not None:
        parts.append(b"\x52" + varint(len(token.raw)) + token.raw)
    if token.opaque:
        parts.append(b"\x5a" + varint(len(token.opaque)) + token.opaque)
    return b"".join(parts)


def token_body(tokens: Sequence[Token], time_ns: int, checksum: int = 0) -> tuple[bytes, int]:
    """Encodes StreamTokensResponse.tokens (number 2) of one event, all with the same time.

    Takes the checksum of all output before. Returns the bytes, and the checksum of all output so far.
    """
    stamp = _timestamp(time_ns)
    parts = []
    for token in tokens:
        text = token.text.encode()
        checksum = crc32(text, checksum)
        inner = b"\x08%b\x10%b\x1a%b%b%b" % (
            varint(token.index),
            varint(token.count),
            varint(len(text)),
            text,
            stamp,
        )
        if (
            token.reasoning
            or token.refusal
            or token.id is not None
            or token.logprob is not None
            or token.raw is not None
            or token.opaque
        ):
            inner += _details(token)
            checksum = _checksum(checksum, token.reasoning, token.refusal)
        parts.append(b"\x12%b%b" % (varint(len(inner)), inner))
    return parts[0] if len(parts) == 1 else b"".join(parts), checksum


def fragment_body(fragments: Sequence[ToolCallFragment], checksum: int = 0) -> tuple[bytes, int]:
    """Encodes StreamTokensResponse.tool_call_fragments of one event; otherwise as `token_body`."""
    message = token_stream_pb2.StreamTokensResponse()
    for fragment in fragments:
        message.tool_call_fragments.add(
            call_index=fragment.call_index,
            id=fragment.id,
            function_name=fragment.function_name,
            arguments_fragment=fragment.arguments,
            opaque=fragment.opaque,
        )
        checksum = _checksum(checksum, fragment.id, fragment.function_name, fragment.arguments)
    return message.SerializeToString(), checksum


def _checksum(checksum: int, *texts: str) -> int:
    """Returns the checksum of all output that ends in these texts, encoded as `_text` does."""
    for text in texts:
        checksum = crc32(text.encode(errors="replace"), checksum)
    return checksum


_CHECKSUM_TAG, _CHECKSUM_SIZE = b"\x5d", 5


def tail(sequence: int, usage: Usage, checksum: int | None = None) -> bytes:
    """Encodes StreamTokensResponse.output_checksum (number 11), .sequence (number 1) and .usage (number 4).

    The checksum comes first, because it alone may be missing, and is read back.
    """
    start = b"" if checksum is None else _CHECKSUM_TAG + checksum.to_bytes(4, "little")
    if usage.cached_input or usage.cache_write_input or usage.reasoning or usage.overhead:
        inner = usage_message(usage).SerializeToString()
        return b"%b\x08%b\x22%b%b" % (start, varint(sequence), varint(len(inner)), inner)
    # Nearly all usages have three fields, each of a byte and a varint.
    inputs, output, source = varint(usage.input), varint(usage.output), varint(usage.source)
    size = 3 + len(inputs) + len(output) + len(source)
    fields = (start, varint(sequence), size, inputs, output, source)
    return b"%b\x08%b\x22%c\x08%b\x10%b\x38%b" % fields


def _event_body(event: Event) -> bytes:
    make = token_stream_pb2.StreamTokensResponse
    if event.switch is not None:
        message = make(engine_switched=engine_switched(event.switch))
    elif event.snapshot is None:
        raise ValueError(f"an event of kind {event.kind} has no snapshot")
    elif event.kind is RecordKind.FINISHED:
        message = make(finished=finished(event.snapshot))
    else:
        message = make(started=engine_started(event.snapshot))
    return message.SerializeToString()


class ProtobufRecorder:
    """Implementation of `Recorder`."""

    __slots__ = ("_checksum",)

    def __init__(self, checksum: int | None) -> None:
        self._checksum = checksum

    def records(self, events: Sequence[Event]) -> list[Record]:
        """Encodes the next events of the generation."""
        checksum = self._checksum
        records = []
        for event in events:
            kind = event.kind
            if kind is RecordKind.TOKENS:
                body, checksum = token_body(event.tokens, event.time_ns, checksum or 0)
            elif kind is RecordKind.FRAGMENTS:
                body, checksum = fragment_body(event.fragments, checksum or 0)
            else:
                body = _event_body(event)
            records.append(Record(event.sequence, kind, body, tail(event.sequence, event.usage, checksum)))
        self._checksum = checksum
        return records


class ProtobufEncoder:
    """Implementation of `EventEncoder`: encodes events as records, and notices as messages."""

    def recorder(self, last_tail: bytes = b"") -> ProtobufRecorder:
        """Returns the recorder of a generation whose last record has this tail; empty for none."""
        return ProtobufRecorder(self.checksum(last_tail))

    def checksum(self, record_tail: bytes) -> int | None:
        """Returns the checksum of all output up to the record with this tail; None before any output."""
        if record_tail[:1] != _CHECKSUM_TAG:
            return None
        return int.from_bytes(record_tail[1:_CHECKSUM_SIZE], "little")

    def after_record(self, snapshot: GenerationSnapshot, record: Record) -> GenerationSnapshot:
        """Returns the state of a generation after a record, from the state before it."""
        return after_record(snapshot, record)

    def event(self, record: Record) -> Event:
        """Returns the event of a record that is neither STARTED nor FINISHED, without its snapshot."""
        return event_of(record)

    def request(self, encoded: bytes) -> GenerationRequest:
        """Returns the request of these bytes. Raises InvalidRequest."""
        message = parse(token_stream_pb2.StreamTokensRequest, encoded, MAX_FIELDS)
        return generation_request(message, keep_encoded=True)

    def notice(self, record_tail: bytes, notice: bytes) -> bytes:
        """Returns the message of a notice that follows the record with this tail; empty for none."""
        if record_tail[:1] == _CHECKSUM_TAG:
            record_tail = record_tail[_CHECKSUM_SIZE:]
        return record_tail + notice

    def attached(self, state: State, last_sequence: int, log_incarnation: str) -> bytes:
        """Encodes the notice that a stream has attached."""
        attached = generation_pb2.Attached(
            state=STATES.there[state], last_sequence=last_sequence, log_incarnation=log_incarnation
        )
        return token_stream_pb2.StreamTokensResponse(attached=attached).SerializeToString()

    def heartbeat(self, state: State, queue_position: int = 0) -> bytes:
        """Encodes the notice that the generation is still running, or waits at a position of its queue."""
        heartbeat = generation_pb2.Heartbeat(state=STATES.there[state], queue_position=queue_position)
        return token_stream_pb2.StreamTokensResponse(heartbeat=heartbeat).SerializeToString()

    def drain_notice(self, deadline_ns: int) -> bytes:
        """Encodes the notice that the server is shutting down."""
        notice = generation_pb2.DrainNotice()
        notice.deadline_time.CopyFrom(
            Timestamp(seconds=deadline_ns // 1_000_000_000, nanos=deadline_ns % 1_000_000_000)
        )
        return token_stream_pb2.StreamTokensResponse(drain_notice=notice).SerializeToString()
