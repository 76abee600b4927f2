"""The form of keys: what secret scanners find, and which mistakes the checksum shows."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.profiles import examples
from tokengrpc.identity.api_keys import PREFIX_LENGTH, digest_of, is_well_formed, new_key

PATTERN = re.compile(r"tg_[0-9A-Za-z]{8}_[0-9A-Za-z]{38}")
KNOWN = "tg_00000000_" + 32 * "0" + "0pJ2WP"


def test_keys_are_different_and_have_the_documented_form() -> None:
    """The prefix that is shown ends before the secret."""
    keys = {new_key() for _ in range(1000)}
    assert len(keys) == 1000
    for key in keys:
        assert PATTERN.fullmatch(key)
        assert is_well_formed(key)
        assert key[PREFIX_LENGTH] == "_"
    # Pins the form: keys in databases must stay valid.
    assert is_well_formed(KNOWN)
    assert len({digest_of(key) for key in keys}) == 1000


@examples(500)
@given(st.integers(0, 49), st.characters(min_codepoint=33, max_codepoint=126))
def test_a_wrong_character_anywhere_shows(place: int, character: str) -> None:
    """So do a missing one, and two that have changed places."""
    key = new_key()
    wrong = key[:place] + character + key[place + 1 :]
    assert is_well_formed(wrong) == (wrong == key)
    assert not is_well_formed(key[:place] + key[place + 1 :])
    swapped = key[: place - 1] + key[place - 1 : place + 1][::-1] + key[place + 1 :] if place else key[::-1]
    assert is_well_formed(swapped) == (swapped == key)


@pytest.mark.parametrize("text", ["", "tg_", "tg_é" + "0" * 47, "x" * 1_000_000, KNOWN[:-1] + "é"])
def test_other_texts_are_no_keys(text: str) -> None:
    """Whatever they look like."""
    assert not is_well_formed(text)
