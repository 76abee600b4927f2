"""No character from outside controls a terminal or reorders its text."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokengrpc.escaping import escape_line, escape_text

BIDIRECTIONAL = [chr(code) for code in (0x061C, *range(0x200E, 0x2010), *range(0x202A, 0x202F))]
ISOLATES = [chr(code) for code in range(0x2066, 0x206A)]


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\x00b\x07\x7f\x9b", r"a\x00b\x07\x7f\x9b"),
        ("abc\u202egpj.exe", r"abc\u202egpj.exe"),
        ("\u2066isolated\u2069", r"\u2066isolated\u2069"),
        ("one\u2028two", r"one\u2028two"),
        ("naïve ünïcode 漢字 🙂 عربي", "naïve ünïcode 漢字 🙂 عربي"),
    ],
)
def test_what_controls_a_terminal_is_escaped(text: str, escaped: str):
    """Everything else stays as it is."""
    assert escape_text(text) == escape_line(text) == escaped


def test_text_keeps_lines_and_marks_and_a_line_does_not():
    """An answer may have lines, and marks of right-to-left text; a name has neither."""
    text = "one\n\ttwo\u200f"
    assert escape_text(text) == text
    assert escape_line(text) == r"one\n\ttwo\u200f"


@given(st.text())
def test_no_control_or_bidirectional_character_remains(text: str):
    """Category Cc is C0, DEL and C1."""
    line = escape_line(text)
    assert not [character for character in line if unicodedata.category(character) in {"Cc", "Zl", "Zp"}]
    assert not set(line) & {*BIDIRECTIONAL, *ISOLATES}
    assert {c for c in escape_text(text) if unicodedata.category(c) == "Cc"} <= {"\n", "\t"}


@given(st.text())
def test_escaped_json_is_the_same_json(text: str):
    """Lines of JSON that are printed on a terminal can still be parsed."""
    line = json.dumps(text, ensure_ascii=False)
    # JSON escapes C0 itself. It has no `\\x` escapes, so that C1 and DEL are the exception.
    if not any(0x7F <= ord(character) <= 0x9F for character in text):
        assert json.loads(escape_line(line)) == text
