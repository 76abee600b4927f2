"""Mutates requests field by field, so that most inputs are valid messages instead of noise."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError
from tokenstreaming.v1 import token_stream_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message

_NUMBERS = (-(2**31), -101, -2, -1, 0, 1, 2, 16, 17, 20, 21, 100, 999_999_999, 10**9, 2**31 - 1)
_DOUBLES = (-1.0, -0.0, 0.0, 1e-12, 0.5, 1.0, 2.0, 2.1, 100.0, 1e300, float("nan"), float("inf"))
_TEXTS = (
    *(
        "",
        "a",
        "f",
        "x" * 64,
        "x" * 65,
        "x" * 300,
        "é🦜",
        "\0",
        "\ufffd",
        "a b",
        "../..",
        "http://",
        "data:,",
    ),
    *("{}", "[", '{"a":1}', '{"type":"object"}', "[" * 300, "1e999", "NaN", '"\\ud800"', "model", "stream"),
)

_DEEPEST = 6
_SELDOM = 0.15
_OFTEN = 0.7


def mutate_request(data: bytes, max_size: int, seed: int, otherwise: Callable[[bytes, int], bytes]) -> bytes:
    """Returns a request with some fields changed.

    Invalid requests, and some valid ones, go to `otherwise`.
    """
    chance = random.Random(seed)
    message = pb.StreamTokensRequest()
    try:
        message.ParseFromString(data)
    except DecodeError:
        return otherwise(data, max_size)
    if chance.random() < _SELDOM:
        return otherwise(data, max_size)
    for _ in range(chance.randint(1, 4)):
        _change(message, chance, 0)
    changed = message.SerializeToString()
    return changed if len(changed) <= max_size else data


def _change(message: Message, chance: random.Random, depth: int) -> None:
    field = chance.choice(message.DESCRIPTOR.fields)
    if depth > _DEEPEST or chance.random() < _SELDOM:
        message.ClearField(field.name)
        return
    value = getattr(message, field.name)
    if _is_map(field):
        _change_map(value, field, chance, depth)
    elif field.is_repeated:
        if field.message_type is None:
            value.extend([_scalar(field, chance)] * chance.choice((1, 1, 1, 20)))
        else:
            _change(
                chance.choice(value) if value and chance.random() < 0.7 else value.add(), chance, depth + 1
            )
    elif field.message_type is not None:
        value.SetInParent()
        _change(value, chance, depth + 1)
    else:
        setattr(message, field.name, _scalar(field, chance))


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _change_map(entries: Any, field: FieldDescriptor, chance: random.Random, depth: int) -> None:
    kinds = field.message_type.fields_by_name
    key = _scalar(kinds["key"], chance)
    if kinds["value"].message_type is None:
        entries[key] = _scalar(kinds["value"], chance)
    else:
        _change(entries[key], chance, depth + 1)


def _scalar(field: FieldDescriptor, chance: random.Random) -> Any:
    if field.cpp_type == field.CPPTYPE_STRING:
        text = chance.choice(_TEXTS)
        return text.encode() if field.type == field.TYPE_BYTES else text
    if field.cpp_type == field.CPPTYPE_BOOL:
        return chance.random() < 0.5
    if field.cpp_type in {field.CPPTYPE_DOUBLE, field.CPPTYPE_FLOAT}:
        return chance.choice(_DOUBLES)
    if field.cpp_type == field.CPPTYPE_ENUM:
        return chance.choice([*(value.number for value in field.enum_type.values), 99])
    return chance.choice(_NUMBERS)
