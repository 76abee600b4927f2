"""Cutting the answer before a stop sequence, however the engine splits it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.profiles import examples
from tokengrpc.core.model import Delta, UsageReport
from tokengrpc.core.request import GenerationRequest, Sampling
from tokengrpc.engines.upstream.answers.stop_cutter import StopCutter, stop_cutter


def cut(stops: tuple[str, ...], *pieces: str) -> tuple[list[str], str]:
    """Returns what is shown after each piece, with the rest, and the stop sequence that was found."""
    cutter = StopCutter(stops)
    shown = []
    for piece in pieces:
        if cutter.matched:
            break
        shown.append("".join(delta.text or "" for delta in cutter.push(Delta(text=piece, count=1))))
    shown.append("".join(delta.text or "" for delta in cutter.flush()))
    return shown, cutter.matched


@pytest.mark.parametrize(
    ("stops", "pieces", "shown", "matched"),
    [
        (("END",), ("one", " END"), ["one", " ", ""], "END"),
        (("END",), ("one E", "N", "D two"), ["", "", "one ", ""], "END"),
        (("END",), ("E", "N", "d"), ["", "", "ENd", ""], ""),
        (("END",), ("x", "E"), ["x", "", "E"], ""),
        (("aab",), ("aa", "ab"), ["", "a", ""], "aab"),
        (("abc", "b"), ("abc",), ["a", ""], "b"),
        (("ab", "abc"), ("abc",), ["", ""], "ab"),
        (("\n\n",), ("a\n", "\nb"), ["", "a", ""], "\n\n"),
        (("🦜",), ("a🦜b",), ["a", ""], "🦜"),
    ],
)
def test_pieces(stops: tuple[str, ...], pieces: tuple[str, ...], shown: list[str], matched: str):
    """Only text that may begin a stop sequence is withheld, as whole deltas."""
    assert cut(stops, *pieces) == (shown, matched)


@examples(2000)
@given(
    st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3),
    st.lists(st.text("abc", max_size=3), max_size=12),
)
def test_any_split(stops: list[str], pieces: list[str]):
    """The shown text is the text before the stop sequence that is complete first."""
    text = "".join(pieces)
    ends = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    shown, matched = cut(tuple(stops), *pieces)
    assert "".join(shown) == (text[: min(ends)[1]] if ends else text)
    assert bool(matched) is bool(ends)


def test_counts_and_details():
    """The tokens of the stop sequence stay counted; their text and details are not shown."""
    cutter = StopCutter(("##",))
    usage = UsageReport(output=3)
    deltas = [
        Delta(text="a#", count=1, id=1, logprob=-0.5, raw=b"a#"),
        Delta(reasoning="hm", count=1),
        Delta(text="#b", count=1, id=2, logprob=-0.25, raw=b"#b", usage=usage),
    ]
    shown = [delta for one in deltas for delta in cutter.push(one)]
    assert shown == [
        Delta(text="a", count=1, id=1, logprob=-0.5),
        Delta(reasoning="hm", count=1),
        Delta(count=1, usage=usage),
    ]


@pytest.mark.parametrize(
    ("params", "cuts"),
    [
        ({}, True),
        ({"include_stop_str_in_output": True}, False),
        ({"no_stop_trim": True}, False),
        ({"min_tokens": 5}, False),
    ],
)
def test_callers_who_want_the_stop_sequence(params: dict, cuts: bool):
    """A parameter of the engine may ask for it."""
    request = replace(
        GenerationRequest(prompt="p", sampling=Sampling(stop_sequences=("x",))), engine_params=params
    )
    assert (stop_cutter(request) is not None) is cuts
    assert stop_cutter(GenerationRequest(prompt="p")) is None
