"""Usage as OpenAI-compatible servers write it: parts beside their sums, zeros, bad parts, other places."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.openai_payloads import DONE, STOP, chat, finished, text
from tokengrpc.core.model import UsageReport


def last_usage(*payloads: dict[str, Any]) -> UsageReport | None:
    """Returns the usage in the last delta of an answer that ends with these chunks."""
    return finished(text("a"), STOP, *(json.dumps(p).encode() for p in payloads), DONE)[-1].usage


def usage_chunk(*counts: int, cached: int | None = None, reasoning: int | None = None, **more: Any) -> dict:
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    usage: dict[str, Any] = dict(zip(names, counts, strict=False)) | more
    if cached is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": cached}
    if reasoning is not None:
        usage["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return {"choices": [], "usage": usage}


@pytest.mark.parametrize(
    ("chunk", "expected"),
    [
        pytest.param(usage_chunk(32, 9, 135, reasoning=94), (32, 103), id="reasoning beside"),
        pytest.param(usage_chunk(32, 103, 135, reasoning=94), (32, 103), id="reasoning within"),
        pytest.param(usage_chunk(32, 9, 135, reasoning_tokens=94), (32, 103), id="beside, elsewhere"),
        pytest.param(usage_chunk(32, 100, 232, reasoning=100), (32, 200), id="beside, as large"),
        pytest.param(usage_chunk(32, 9, reasoning=94), (32, 103), id="beside, no total"),
        pytest.param(usage_chunk(32, 9, reasoning=4), (32, 9), id="within, no total"),
        pytest.param(usage_chunk(32, 9, 41, reasoning=94), (32, 103), id="not in the total"),
        pytest.param(usage_chunk(32, 9, 135), (32, 103), id="reasoning in the total alone"),
        pytest.param(usage_chunk(10, 5, 105, cached=90), (100, 5), id="cached input beside"),
        pytest.param(usage_chunk(100, 5, 105, cached=90), (100, 5), id="cached input within"),
        pytest.param(usage_chunk(10, 5, 119, cached=90, reasoning=14), (100, 19), id="both beside"),
        pytest.param(usage_chunk(32, 9, 30, reasoning=4), (32, 9), id="a total that is too small"),
    ],
)
def test_parts_beside_their_sums(chunk: dict, expected: tuple[int, int]):
    """The total decides whether a part is in its sum; a part is never larger than its sum."""
    usage = last_usage(chunk)
    assert usage is not None
    assert (usage.input, usage.output) == expected


@pytest.mark.parametrize(
    ("chunk", "expected"),
    [
        (usage_chunk(0, 9), (None, 9)),
        (usage_chunk(0, 9, 41), (32, 9)),
        (usage_chunk(32, 0, 41), (32, 9)),
        (usage_chunk(32, 0), (32, None)),
        (usage_chunk(32, 0, 32), (32, None)),
        (usage_chunk(0, 0, 0), None),
    ],
)
def test_a_zero_is_no_count(chunk: dict, expected: tuple[int | None, int | None] | None):
    """Every request has an input, and this answer a text."""
    usage = last_usage(chunk)
    assert (usage and (usage.input, usage.output)) == expected


BAD = [-1, -7.5, "n/a", None, [], {"n": 5}, True, 10**12, "9" * 4000, {"a": {"b": {"c": {}}}}]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: str(bad)[:20])
@pytest.mark.parametrize("field", ["cached_tokens", "prompt_tokens", "completion_tokens", "total_tokens"])
def test_a_bad_part_costs_nothing_else(field: str, bad: object):
    """Before the finish and after it, the other counts stand, and the answer is none the worse."""
    usage: dict[str, Any] = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    (usage if field in usage else usage.setdefault("prompt_tokens_details", {}))[field] = bad
    expected = UsageReport(input=7, output=3)  # the total tells a sum that is bad
    assert last_usage({"choices": [], "usage": usage}) == expected
    assert finished(chat({"content": "a"}, usage=usage), STOP, DONE)[-1].usage == expected


@pytest.mark.parametrize("usage", [[], "none", 5, {}, {"prompt_tokens_details": []}])
def test_a_usage_that_is_none(usage: object):
    """It is ignored."""
    assert last_usage({"choices": [], "usage": usage}) is None


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": [{"index": 0, "delta": {}, "usage": {"prompt_tokens": 7, "completion_tokens": 3}}]},
        {"choices": [], "x_groq": {"id": "r", "usage": {"prompt_tokens": 7, "completion_tokens": 3}}},
        {"choices": [], "usage": {"input_tokens": 7, "output_tokens": 3}},
        {"choices": [], "usage": None, "x_groq": {"usage": {"prompt_tokens": "7", "completion_tokens": 3}}},
        {"usage": {"prompt_tokens": 7, "total_tokens": 10}},
    ],
)
def test_other_places_and_names(chunk: dict):
    """Moonshot's, Groq's, and the names of newer APIs."""
    assert last_usage(chunk) == UsageReport(input=7, output=3)


def test_a_later_usage_adds_to_an_earlier_one():
    """What the last one does not tell stands as told before."""
    first = usage_chunk(7, 3, cached=5)
    assert last_usage(first, usage_chunk(0, 4, 0)) == UsageReport(input=7, output=4, cached_input=5)
