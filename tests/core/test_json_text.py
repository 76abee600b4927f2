"""JSON text is checked without building its values, as strictly as by decoding it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.profiles import examples
from tokengrpc.core.json_text import is_json, is_json_object

PIECES = [*'{}[],:"\\0-1e.', "true", "null", '"a":', "\\u0041", " ", "\x01"]


def by_decoding(text: str) -> bool:
    """Whether Python's decoder accepts the text as an object."""
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


@examples(2000)
@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
def test_objects_are_those_of_the_decoder(middle: str):
    """Wherever in the text the mistake is."""
    text = f'{{"a":{middle}}}'
    assert is_json_object(text) == is_json(text) == by_decoding(text)


@pytest.mark.parametrize(
    ("text", "json_text", "json_object"),
    [
        ("{}", True, True),
        (' {"a": [1, {"b": null}]} ', True, True),
        ("[1]", True, False),
        ('"text"', True, False),
        ("", False, False),
        ("{} {}", False, False),
        ('{"a": NaN}', False, False),
        ('{"a": "\\ud800"}', False, False),
        ("[" * 100_000, False, False),
    ],
)
def test_other_texts(text: str, json_text: bool, json_object: bool):
    """NaN, half a surrogate pair and endless nesting are not JSON."""
    assert (is_json(text), is_json_object(text.encode())) == (json_text, json_object)
