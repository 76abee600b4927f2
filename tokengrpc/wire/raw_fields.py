"""Looks at request bytes before they are parsed: counts their fields, and finds the id and the model.

protobuf's parser takes time and memory per field, and holds Python's lock meanwhile: 0.1 to 0.2 s for a
megabyte of empty messages, on whichever thread it runs. Counting stops at its limit.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from tokenstreaming.v1 import token_stream_pb2 as pb

from tokengrpc.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message

    Descriptor = Any  # protobuf has two types of them, of which stubs know one

MAX_FIELDS = 32_768
"""Most fields of a request. A conversation of 4,096 messages with a role and a text each has 12,289."""
MAX_TOP_FIELDS = 1024
"""Most fields on the uppermost level of a request. The contract allows about 160."""

# The lowest bits of a tag: the form of the field's value.
_VARINT, _LENGTH_DELIMITED = 0, 2
_SIZES = {1: 8, 5: 4}
_LONGEST_NUMBER = 10  # bytes
_MORE = 0x80  # set in each byte of a number but the last one
_REQUEST = pb.StreamTokensRequest.DESCRIPTOR
_ID, _MODEL = (_REQUEST.fields_by_name[name].number for name in ("generation_id", "model"))
# Neither an id nor a model's name is longer. Longer ones are refused once they are parsed.
_LONGEST_NAME = 512


class Head(NamedTuple):
    """The fields of a request that decide whether the others are looked at."""

    generation_id: str
    model: str


def head_of(kind: type[Message], data: bytes) -> Head:
    """Returns the id and the model of a StreamTokensRequest, or of the one within a request of another kind.

    Raises InvalidRequest if there are more than MAX_TOP_FIELDS fields beside them.
    """
    found = {_ID: b"", _MODEL: b""}
    requests = [(0, len(data))]
    if kind.DESCRIPTOR is not _REQUEST:
        wrapper = kind.DESCRIPTOR.fields_by_name["request"].number
        fields = _one_level(data, 0, len(data), kind.DESCRIPTOR)
        requests = [(begin, end) for number, begin, end in fields if number == wrapper]
    for begin, end in requests:
        for number, start, stop in _one_level(data, begin, end, _REQUEST):
            if number in found:
                found[number] = data[start : min(stop, start + _LONGEST_NAME)]
    return Head(*(text.decode(errors="replace") for text in found.values()))


def check_field_count(kind: type[Message], data: bytes, most: int = MAX_FIELDS) -> None:
    """Raises InvalidRequest, with the path of the first field too many, if there are more than `most`.

    A message, an element of a list and a map entry count one each, and so does each field in them. Numbers
    in packed form count one together.
    """
    path = _path_beyond(kind, data, most)
    if path is not None:
        raise _too_many(path, most)


def has_few_fields(kind: type[Message], data: bytes, most: int) -> bool:
    """Returns whether there are at most `most` fields, counted like `check_field_count` does."""
    return _path_beyond(kind, data, most) is None


class _Layout:
    """The fields of a message type that contain messages, by tag."""

    def __init__(self, descriptor: Descriptor, path: str) -> None:
        self.descriptor = descriptor
        self.path = path
        self.inner: dict[int, _Layout] = {}

    def path_of(self, tag: int) -> str:
        """Returns the path of a field, without indexes and keys. An unknown field has that of its message."""
        field = self.descriptor.fields_by_number.get(tag >> 3)
        if field is None or self.descriptor.full_name.startswith("google.protobuf."):
            return self.path
        return f"{self.path}.{field.name}" if self.path else str(field.name)


def _layout(descriptor: Descriptor, path: str, known: dict[str, _Layout]) -> _Layout:
    made = known[descriptor.full_name] = _Layout(descriptor, path)
    for field in descriptor.fields:
        inner = field.message_type
        if inner is not None:
            tag = field.number << 3 | _LENGTH_DELIMITED
            # A type within itself, such as a list of values, keeps its first path.
            made.inner[tag] = known.get(inner.full_name) or _layout(inner, made.path_of(tag), known)
    return made


_LAYOUTS: dict[str, _Layout] = {}


def _path_beyond(kind: type[Message], data: bytes, most: int) -> str | None:
    """Returns the path of the first field beyond the first `most`; None if there is none.

    Malformed bytes are counted as far as they can be read: the parser refuses them.
    """
    name = kind.DESCRIPTOR.full_name
    layout = _LAYOUTS.get(name)
    if layout is None:
        layout = _LAYOUTS[name] = _layout(kind.DESCRIPTOR, "", {})
    position, end, left = 0, len(data), most
    outer: list[tuple[int, _Layout]] = []
    while True:
        # A group of unknown fields may contain what looks like a malformed message. The parser skips it.
        with suppress(_Malformed):
            while position < end:
                tag, position = _number(data, position)
                left -= 1
                if left < 0:
                    return layout.path_of(tag)
                inner = layout.inner.get(tag)
                if inner is None:
                    position = _skip(data, position, tag & 7)
                else:
                    size, position = _number(data, position)
                    outer.append((end, layout))
                    layout, end = inner, min(position + size, end)
        if not outer:
            return None
        position = end
        end, layout = outer.pop()


def _one_level(data: bytes, begin: int, end: int, descriptor: Descriptor) -> Iterator[tuple[int, int, int]]:
    """Yields the number, begin and end of each length-delimited field. Ends at malformed bytes."""
    position, left = begin, MAX_TOP_FIELDS
    with suppress(_Malformed):
        while position < end:
            tag, position = _number(data, position)
            left -= 1
            if left < 0:
                raise _too_many(_Layout(descriptor, "").path_of(tag), MAX_TOP_FIELDS)
            if tag & 7 == _LENGTH_DELIMITED:
                size, start = _number(data, position)
                yield tag >> 3, start, min(start + size, end)
            position = _skip(data, position, tag & 7)


def _skip(data: bytes, position: int, form: int) -> int:
    """Returns the position behind a value. The marks of a group have no value."""
    if form == _LENGTH_DELIMITED:
        size, position = _number(data, position)
        return position + size
    if form == _VARINT:
        return _number(data, position)[1]
    return position + _SIZES.get(form, 0)


def _number(data: bytes, position: int) -> tuple[int, int]:
    """Reads a variable-length number. Returns it and the position behind it. Raises _Malformed."""
    try:
        value = data[position]
        position += 1
        if value < _MORE:  # nearly always
            return value, position
        value &= 0x7F
        for shift in range(7, 7 * _LONGEST_NUMBER, 7):
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < _MORE:
                return value, position
    except IndexError:
        pass
    raise _Malformed


class _Malformed(Exception):
    """Bytes that are no number."""


def _too_many(path: str, most: int) -> InvalidRequest:
    return InvalidRequest([(path, f"has too many fields or entries: a request may have {most} in total")])
