"""Complete characters and stop sequences: the result does not depend on how a text is split."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.profiles import examples
from tokengrpc.core.stop_matcher import StopMatcher
from tokengrpc.core.text import IncrementalDecoder

# Including surrogates, because JSON can contain single halves.
ANY_TEXT = st.text(st.one_of(st.characters(), st.sampled_from("a\ud83d\ude00\udbff\udc00é€🦜")), max_size=12)
ANY_BYTES = st.one_of(
    st.binary(max_size=12),
    st.text(max_size=8).map(str.encode),
    st.lists(st.sampled_from([b"\xf0", b"\x9f", b"\x98", b"\x80", b"\xed", b"\xa0", b"\xe2\x82", b"a"])).map(
        b"".join
    ),
)


def split(whole, cuts):
    places = [0, *sorted(cut % (len(whole) + 1) for cut in cuts), len(whole)]
    return [whole[begin:end] for begin, end in itertools.pairwise(places)]


def whole_text(pieces: list[str] | list[bytes]) -> str:
    maker = IncrementalDecoder()
    return "".join(maker.push(piece) for piece in pieces) + maker.flush()


def naive_text(text: str) -> str:
    pair = re.compile("([\ud800-\udbff])([\udc00-\udfff])")
    joined = pair.sub(lambda m: chr(0x10000 + ((ord(m[1]) - 0xD800) << 10) + ord(m[2]) - 0xDC00), text)
    return re.sub("[\ud800-\udfff]", "\ufffd", joined)


@example(b"\xed\xa0", [])
@examples(2000)
@given(ANY_BYTES, st.lists(st.integers(0, 100), max_size=12))
@example(b"\xed\xa0\x80", [1, 2])
@example(b"\xf0\x9f\x98", [1, 2])
def test_any_split_of_bytes_gives_the_same_text(data, cuts):
    """However bytes are split, the text equals that of decoding them at once."""
    assert whole_text(split(data, cuts)) == data.decode("utf-8", "replace")


@examples(2000)
@given(ANY_TEXT, st.lists(st.integers(0, 100), max_size=12))
@example("\ud83d\ude00", [1])
@example("\ud83d\ud83d\ude00", [1, 2])
def test_any_split_of_text_gives_the_same_text(text, cuts):
    """However text is split, surrogate pairs are joined and single halves replaced."""
    assert whole_text(split(text, cuts)) == naive_text(text)


@examples(2000)
@given(st.lists(st.one_of(ANY_TEXT, ANY_BYTES), max_size=8))
def test_every_output_encodes(pieces):
    """Each piece of output encodes to UTF-8, whatever mix of text and bytes was pushed."""
    maker = IncrementalDecoder()
    for piece in pieces:
        maker.push(piece).encode()
    maker.flush().encode()


def test_a_split_character_is_released_with_its_last_byte():
    """The bytes of a character are held until it is complete."""
    maker = IncrementalDecoder()
    assert [maker.push(bytes([byte])) for byte in "🦜".encode()] == ["", "", "", "🦜"]
    assert maker.flush() == ""


def test_a_split_surrogate_pair_is_released_with_its_low_half():
    """The high half of a pair is held until the low half arrives."""
    maker = IncrementalDecoder()
    assert maker.push("a\ud83d") == "a"
    assert maker.push("\ude00b") == "😀b"


@pytest.mark.parametrize("held", [b"\xe2\x82", "\ud83d"])
def test_an_empty_piece_changes_nothing(held):
    """An empty piece neither releases nor loses what is held."""
    maker = IncrementalDecoder()
    assert maker.push(held) == ""
    assert maker.push("") == ""
    assert maker.push(b"") == ""
    assert maker.flush() == "\ufffd"
    assert maker.flush() == ""


def test_bytes_and_text_do_not_complete_each_other():
    """Bytes cannot complete a surrogate pair, nor text a byte sequence."""
    maker = IncrementalDecoder()
    assert maker.push(b"\xe2\x82") + maker.push("\ud83d") == "\ufffd"
    assert maker.push(b"a") == "\ufffda"


STOPS = st.lists(st.text("abc", min_size=1, max_size=5), max_size=4)


def naive_stop(text: str, stops: list[str]) -> tuple[str, str | None]:
    found = [(text.find(stop), len(stop), stop) for stop in stops if stop in text]
    if not found:
        return text, None
    at, _, stop = min(found)
    return text[:at], stop


def run_matcher(pieces: list[str], stops: list[str]) -> tuple[str, str | None]:
    matcher, emitted = StopMatcher(stops), ""
    for piece in pieces:
        text, stop = matcher.push(piece)
        emitted += text
        if stop is not None:
            return emitted, stop
    text, stop = matcher.flush()
    return emitted + text, stop


@examples(2000)
@given(st.text("abc", max_size=24), STOPS, st.lists(st.integers(0, 100), max_size=12))
@example("abcab", ["abcd", "bc"], [3])
@example("ababc", ["abc"], [2])
def test_any_split_finds_the_same_stop_sequence(text, stops, cuts):
    """However text is split, the earliest stop sequence is found, and the text before it is released."""
    assert run_matcher(split(text, cuts), stops) == naive_stop(text, stops)


@examples(2000)
@given(st.text("abc", max_size=24), STOPS)
def test_only_prefixes_of_stop_sequences_are_held(text, stops):
    """The held text is always a prefix of a stop sequence."""
    matcher, emitted = StopMatcher(stops), ""
    for end, character in enumerate(text, 1):
        safe, stop = matcher.push(character)
        emitted += safe
        if stop is not None:
            break
        held = text[len(emitted) : end]
        assert text[:end] == emitted + held
        assert not held or any(sequence.startswith(held) for sequence in stops)


def test_an_earlier_start_takes_precedence():
    """A match is not reported while a sequence that began before it may still be completed."""
    matcher = StopMatcher(["abcd", "bc"])
    assert matcher.push("xabc") == ("x", None)
    assert matcher.push("d") == ("", "abcd")
    matcher = StopMatcher(["abcd", "bc"])
    assert matcher.push("xabc") == ("x", None)
    assert matcher.push("e") == ("a", "bc")


def test_the_end_of_the_text_settles_a_pending_match():
    """At the end of the text, a pending match is reported."""
    matcher = StopMatcher(["abcd", "bc"])
    matcher.push("abc")
    assert matcher.flush() == ("a", "bc")
    assert matcher.flush() == ("", None)


def test_without_stop_sequences_nothing_is_held():
    """Without stop sequences, all text is released."""
    assert StopMatcher(()).push("anything") == ("anything", None)


def test_an_empty_stop_sequence_is_refused():
    """An empty stop sequence would match at the start of every text."""
    with pytest.raises(ValueError, match="at least one character"):
        StopMatcher(["a", ""])
