"""Parsing of request bytes. Malformed bytes and unknown fields are rejected, with the paths of the fields."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from tokengrpc.errors import InvalidRequest
from tokengrpc.wire.status import MAX_VIOLATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

M = TypeVar("M", bound=Message)


def parse(kind: type[M], data: bytes) -> M:
    """Parses a message. Raises InvalidRequest."""
    try:
        message = kind.FromString(data)
    except DecodeError as error:
        raise InvalidRequest([("", f"the bytes are not a {kind.DESCRIPTOR.full_name}")]) from error
    known = kind()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    # The sizes, computed in C, show whether there are unknown fields to look for.
    if known.ByteSize() != message.ByteSize():
        raise InvalidRequest(
            [
                (f"{path}{number}", "is not a field in this server's version of the contract")
                for path, number in itertools.islice(_unknown(message, ""), MAX_VIOLATIONS)
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
