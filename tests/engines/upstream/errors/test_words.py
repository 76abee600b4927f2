"""Words of errors as servers and proxies write them (`tests/data/error_words.txt`), and what they say."""

from __future__ import annotations

import pytest

from tests.support.paths import DATA
from tokengrpc.engines.upstream.errors.words import read_fault

# One message a line, after its fault; NONE for mistakes in single fields of a request. The sources are the
# servers' repositories and public bug reports.
LINES = (DATA / "error_words.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("line", LINES)
def test_words(line: str):
    """Each message says what it is about, and those about single fields say nothing."""
    expected, _, words = line.partition(" ")
    fault = read_fault(words.lower())
    assert ("NONE" if fault is None else fault.name) == expected


@pytest.mark.parametrize("words", ["input " * 20_000, "exceeds " * 20_000, "model" + " " * 100_000])
def test_long_words(words: str):
    """A huge message is not searched to its end."""
    assert read_fault(words + "insufficient_quota") is None
