"""Parsing of request bytes. Malformed bytes and unknown fields are rejected, with the paths of the fields."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from tokengrpc.errors import InvalidRequest
from tokengrpc.wire.raw_fields import check_field_count
from tokengrpc.wire.status import MAX_VIOLATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

M = TypeVar("M", bound=Message)

_FEW_FIELDS = 64
"""More than any request has that neither starts nor counts a generation."""
_LEAST_FIELD = 2  # bytes of the smallest field


def parse(kind: type[M], data: bytes, max_fields: int = _FEW_FIELDS) -> M:
    """Parses a message of up to `max_fields` fields in total. Raises InvalidRequest."""
    if len(data) > _LEAST_FIELD * max_fields:
        check_field_count(kind, data, max_fields)
    try:
        message = kind.FromString(data)
    except DecodeError as error:
        raise InvalidRequest([("", f"the bytes are not a {kind.DESCRIPTOR.full_name}")]) from error
    # The sizes, computed in C, show whether there were unknown fields.
    size = message.ByteSize()
    message.DiscardUnknownFields()
    if message.ByteSize() != size:
        raise InvalidRequest(
            [
                (f"{path}{number}", "is not a field in this server's version of the contract")
                for path, number in itertools.islice(_unknown(kind.FromString(data), ""), MAX_VIOLATIONS)
            ]
        )
    return message


def _unknown(message: Message, path: str) -> Iterator[tuple[str, int]]:
    unknown = UnknownFieldSet(message)
    for i in range(len(unknown)):
        yield path, unknown[i].field_number
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            values = value.items() if field.message_type.fields_by_name["value"].message_type else ()
        elif isinstance(value, Message):
            values = [("", value)]
        else:
            values = enumerate(value)
        for key, inner in values:
            index = "" if key == "" else f"[{key}]"
            yield from _unknown(inner, f"{path}{field.name}{index}.")
