"""Wrapping of streamed text: what a terminal shows, however the text is cut into tokens."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.profiles import examples
from tests.support.terminals import rendered
from tokengrpc.cli.wrapping import Wrapper

ACCENT = "e\N{COMBINING ACUTE ACCENT}"


def show(pieces: list[str], width: int) -> list[str]:
    wrapper = Wrapper()
    return rendered("".join(wrapper.wrap(piece, width) for piece in pieces), width)


def lines(text: str, width: int = 10) -> list[str]:
    """Returns the lines of a text that arrives in single characters."""
    return show(list(text), width)


def test_words_are_not_cut():
    """A word whose end does not fit moves to the next line, also if its beginning was shown already."""
    assert lines("The quick brown fox") == ["The quick", "brown fox"]
    assert show(["The qu", "ick bro", "wn fox"], 10) == ["The quick", "brown fox"]


def test_a_full_line_is_followed_by_the_next_one():
    """Neither a space nor a line break after the last column makes an empty line."""
    assert lines("0123456789 ab") == ["0123456789", "ab"]
    assert lines("0123456789\nab") == ["0123456789", "ab"]
    assert lines("01234567 9 ab") == ["01234567 9", "ab"]


def test_a_word_longer_than_a_line_is_broken():
    """It begins on a line of its own, and fills the lines."""
    assert lines("see abcdefghijklmnop x") == ["see", "abcdefghij", "klmnop x"]


def test_indentation_and_empty_lines_are_kept():
    """Spaces and tabs at the beginning of a line are part of the text."""
    assert lines("a\n\n  b\n\tc") == ["a", "", "  b", "        c"]


def test_wide_characters_count_twice_and_may_be_parted():
    """A line holds half as many of them, and never half of one."""
    assert [line.replace(" ", "") for line in lines("漢字仮名交じり文")] == ["漢字仮名交", "じり文"]
    assert [line.rstrip() for line in lines("a漢字仮名交")] == ["a漢字仮名", "交"]


def test_combining_characters_take_no_column():
    """They stay with their letter, also in a token of their own."""
    word = ACCENT * 4
    assert show([f"abcde {word}"], 10) == show(["abcde ", *word], 10) == ["abcde éééé"]


def test_a_character_that_becomes_wide_moves_to_the_next_line():
    """The selector that makes it wide may come in the next token."""
    wrapper = Wrapper()
    output = wrapper.wrap("abcdefghi❤", 10) + wrapper.wrap("\N{VARIATION SELECTOR-16}", 10)
    assert output == "abcdefghi❤\x1b[1G\x1b[Kabcdefghi\n❤\N{VARIATION SELECTOR-16}"


def test_a_narrower_terminal_takes_effect_at_once():
    """The width may change between two tokens."""
    wrapper = Wrapper()
    assert wrapper.wrap("one two ", 20) + wrapper.wrap("three", 10) == "one two \nthree"


WORDS = st.text(st.sampled_from("ab漢é \n"), max_size=60).map(lambda text: text.replace("é", ACCENT))


@examples(300)
@example(text=f"aaaaaaa{ACCENT * 3}漢漢{ACCENT}a", cuts={1, 2, 3, 4, 5, 17}, width=5)
@given(text=WORDS, cuts=st.sets(st.integers(1, 60)), width=st.integers(4, 12))
def test_the_cuts_between_tokens_do_not_show(text, cuts, width):
    """Any pieces show the same lines as the whole text, with each word that fits into a line in one piece."""
    edges = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    pieces = [text[begin:end] for begin, end in pairwise(edges)]
    seen = show(pieces, width)
    assert seen == show([text], width)
    shown, text = "\n".join(seen), text.replace(ACCENT, "é")
    assert re.sub(r"\s", "", shown) == re.sub(r"\s", "", text)
    assert all(word in shown for word in re.findall("[abé]+", text) if len(word) <= width)
