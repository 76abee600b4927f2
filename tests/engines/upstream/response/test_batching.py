"""Deltas of large reads in batches: nothing is lost when a delta is split."""

from __future__ import annotations

from typing import Any

import pytest

from tokengrpc.core.model import Delta, EngineFinish, FinishReason, ToolCallFragment, UsageReport
from tokengrpc.engines.upstream.response.batching import PORTION, portions

LONG = "ab" * PORTION
FINISH = EngineFinish(reason=FinishReason.END, word="stop")
DETAILS: dict[str, Any] = {
    "id": 7,
    "logprob": -0.5,
    "raw": b"raw",
    "usage": UsageReport(input=3),
    "finish": FINISH,
    "prompt_ids": (1, 2),
}


def split(delta: Delta) -> list[Delta]:
    """Returns the parts of a delta that is larger than a portion."""
    batches = portions([b"x" * (PORTION + 1)], [delta])
    assert all(len(batch) == 1 for batch in batches)
    parts = [part for batch in batches for part in batch]
    assert len(parts) > 1
    return parts


@pytest.mark.parametrize("kind", ["text", "reasoning", "refusal"])
def test_details_of_a_split_delta_are_kept_once(kind: str) -> None:
    """The last part has ids, bytes, usage and the finish reason; other parts have text only."""
    *first, last = split(Delta(**{kind: LONG}, **DETAILS))
    assert {name: getattr(last, name) for name in DETAILS} == DETAILS
    assert "".join(getattr(part, kind) for part in (*first, last)) == LONG
    for part in first:
        assert part == Delta(**{kind: getattr(part, kind)})


def test_text_that_is_decoded_from_bytes_stays_so() -> None:
    """If the text is in `raw` only, the last part takes its text from there."""
    *first, last = split(Delta(text=None, raw=b"raw", reasoning=LONG))
    assert (last.text, last.raw) == (None, b"raw")
    assert all(part.text == "" and part.raw is None for part in first)


@pytest.mark.parametrize("reasoning", ["", LONG])
def test_opaque_bytes_precede_the_text(reasoning: str) -> None:
    """They belong to the reasoning before them, whether or not this is in the same delta."""
    opaque = Delta(opaque=b"signature", count=0)
    parts = split(Delta(reasoning=reasoning, text=LONG, opaque=b"signature"))
    position = parts.index(opaque)
    before, after = parts[:position], parts[position + 1 :]
    assert before == [Delta(reasoning=part.reasoning) for part in before]
    assert after == [Delta(text=part.text) for part in after]
    assert "".join(part.reasoning for part in before) == reasoning
    assert "".join(part.text or "" for part in after) == LONG


def test_opaque_bytes_end_a_delta_of_reasoning_only() -> None:
    """With the other details of the delta."""
    *before, last = split(Delta(reasoning=LONG, opaque=b"signature", finish=FINISH))
    assert "".join(part.reasoning for part in before) == LONG
    assert last == Delta(opaque=b"signature", finish=FINISH)


def test_a_split_fragment_begins_its_call_once() -> None:
    """Only the first part has the id, the name and the opaque bytes of the call."""
    call = ToolCallFragment(call_index=1, id="c", function_name="f", arguments=LONG, opaque=b"signature")
    parts = [fragment for part in split(Delta(fragments=(call,))) for fragment in part.fragments]
    assert "".join(part.arguments for part in parts) == LONG
    first, *others = parts
    assert (first.id, first.function_name, first.opaque) == ("c", "f", b"signature")
    assert all(
        (part.call_index, part.id, part.function_name, part.opaque) == (1, "", "", b"") for part in others
    )
