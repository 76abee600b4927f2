"""The state machine of a generation: numbering, complete characters, usage, exactly one end."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokengrpc.core.events import RecordKind
from tokengrpc.core.generation import MAX_EVENT_TOKENS, Generation
from tokengrpc.core.model import (
    Delta,
    EngineFinish,
    FinishReason,
    State,
    ToolCallFragment,
    UsageReport,
    UsageSource,
)
from tokengrpc.core.request import GenerationRequest, OutputOptions
from tokengrpc.core.termination import Termination
from tokengrpc.errors import Cancelled, DeadlineExceeded, EngineLost, EngineProtocolError


class Letters:
    """A tokenizer in which every character is a token, so that counts are easy to check."""

    name, exact = "letters", True

    def count(self, text: str) -> int:
        return len(text)

    def count_input(self, messages, tools) -> int:
        return 0


def new(**fields) -> Generation:
    return Generation(GenerationRequest(prompt="x", **fields), Letters(), 0)


def started(**fields) -> Generation:
    generation = new(**fields)
    generation.accept("e", 1)
    return generation


deltas = st.builds(
    Delta,
    text=st.text(max_size=4),
    reasoning=st.text(max_size=2),
    refusal=st.sampled_from(["", "", "no"]),
    count=st.one_of(st.none(), st.integers(0, 3)),
    fragments=st.sampled_from([(), (), (ToolCallFragment(call_index=0, id="c", arguments="{}"),)]),
    usage=st.one_of(st.none(), st.builds(UsageReport, input=st.integers(0, 50), output=st.integers(0, 50))),
)


@given(st.lists(st.tuples(st.lists(deltas, max_size=5), st.integers(-5, 100))), st.booleans())
def test_any_deltas_are_numbered_without_gaps(reads, well) -> None:
    """Sequences, indexes, times and usage are correct for any deltas at any times. `finished` occurs once."""
    generation = started()
    events = []
    now = 1
    for batch, step in reads:
        now += step
        events += generation.feed(batch, now)
    termination = Termination(reason=FinishReason.END) if well else Termination.failed(EngineLost("gone"))
    events += generation.end(termination, now)
    assert [e.sequence for e in events] == list(range(2, len(events) + 2))
    assert [e.kind for e in events].count(RecordKind.FINISHED) == 1
    assert events[-1].kind is RecordKind.FINISHED
    tokens = [t for e in events for t in e.tokens]
    index = 0
    for token in tokens:
        assert token.index == index
        index += token.count
    assert [e.time_ns for e in events] == sorted(e.time_ns for e in events)
    sent = "".join(d.text for batch, _ in reads for d in batch)
    assert "".join(t.text for t in tokens) == sent
    for before, after in itertools.pairwise(events):
        if before.usage.source == after.usage.source == UsageSource.ENGINE:
            assert after.usage.output >= before.usage.output


def test_a_generation_ends_once() -> None:
    """A second end is a bug, and raises an error."""
    generation = started()
    generation.end(Termination(reason=FinishReason.END), 2)
    with pytest.raises(RuntimeError, match="ended already"):
        generation.end(Termination(reason=FinishReason.END), 3)


def test_an_unaccepted_generation_has_no_events() -> None:
    """Only its state says how it ended."""
    generation = new()
    assert generation.end(Termination.failed(EngineLost("x")), 5) == []
    assert generation.state is State.FAILED


@pytest.mark.parametrize(
    ("error", "reason", "state"),
    [
        (Cancelled("x"), FinishReason.CANCELLED, State.CANCELLED),
        (DeadlineExceeded("x"), FinishReason.DEADLINE, State.FAILED),
        (EngineLost("x"), FinishReason.ERROR, State.FAILED),
    ],
)
def test_errors_determine_the_finish_reason(error, reason, state) -> None:
    """The finish reason and the state follow from the error."""
    generation = started()
    (event,) = generation.end(Termination.failed(error), 2)
    assert (event.snapshot.termination.reason, generation.state) == (reason, state)


def test_held_back_text_is_released_at_the_end() -> None:
    """Half a character at the end becomes a replacement character with count 0, not a new token."""
    generation = started()
    events = generation.feed([Delta(text=None, raw="é".encode()[:1], count=1)], 2)
    assert [t.text for t in events[0].tokens] == [""]
    released, _ = generation.end(Termination(reason=FinishReason.END), 3)
    assert [(t.index, t.count, t.text) for t in released.tokens] == [(1, 0, "\ufffd")]


def test_a_large_read_becomes_events_of_bounded_size() -> None:
    """So that a reader can resume within a burst."""
    events = started().feed([Delta(text="a", count=1)] * (2 * MAX_EVENT_TOKENS + 1), 2)
    assert [len(e.tokens) for e in events] == [MAX_EVENT_TOKENS, MAX_EVENT_TOKENS, 1]
    assert [e.usage.output for e in events] == [
        MAX_EVENT_TOKENS,
        2 * MAX_EVENT_TOKENS,
        2 * MAX_EVENT_TOKENS + 1,
    ]


def test_tokens_and_tool_calls_never_share_an_event() -> None:
    """Joining records relies on it."""
    fragment = Delta(fragments=(ToolCallFragment(call_index=0, id="c", function_name="f"),), count=1)
    events = started().feed([Delta(text="a", count=1), fragment, Delta(text="b", count=1)], 2)
    assert [e.kind for e in events] == [RecordKind.TOKENS, RecordKind.FRAGMENTS, RecordKind.TOKENS]
    assert [e.usage.output for e in events] == [1, 2, 3]


def test_the_weakest_source_is_reported() -> None:
    """Until the engine has reported input and output, the counts are our own."""
    generation = started()
    generation.count_input(7, UsageSource.ESTIMATED)
    assert generation.usage.source is UsageSource.ESTIMATED
    generation.feed([Delta(text="ab", usage=UsageReport(input=9))], 2)
    assert (generation.usage.source, generation.usage.input) == (UsageSource.COUNTED, 9)
    generation.feed([Delta(usage=UsageReport(output=1))], 3)
    assert (generation.usage.source, generation.usage.output) == (UsageSource.ENGINE, 1)


def test_omitted_reasoning_is_counted_and_not_shown() -> None:
    """Neither its text nor anything that reveals it is sent."""
    generation = started(output=OutputOptions(omit_reasoning=True, token_ids=True, raw_bytes=True))
    (event,) = generation.feed([Delta(reasoning="hmm", count=1, id=5, raw=b"hmm")], 2)
    (token,) = event.tokens
    assert (token.reasoning, token.id, token.raw, token.count) == ("", None, None, 1)
    assert generation.usage.reasoning == 1


def test_details_are_sent_only_if_requested() -> None:
    """Ids, logprobs and bytes of an engine that always sends them are dropped otherwise."""
    delta = Delta(text="a", count=1, id=5, logprob=-0.5, raw=b"a")
    (plain,) = started().feed([delta], 2)[0].tokens
    assert (plain.id, plain.logprob, plain.raw) == (None, None, None)
    asked = started(output=OutputOptions(token_ids=True, top_logprob_count=0, raw_bytes=True))
    (told,) = asked.feed([delta], 2)[0].tokens
    assert (told.id, told.logprob, told.raw) == (5, -0.5, b"a")


def test_an_engine_finish_is_stored_and_ends_nothing() -> None:
    """The task ends the generation after the usage is recorded."""
    generation = started()
    generation.feed([Delta(finish=EngineFinish(reason=FinishReason.END, word="stop"))], 2)
    assert generation.engine_finish.word == "stop"
    assert generation.state is State.PREFILLING


def test_text_next_to_a_tool_call_is_not_lost() -> None:
    """A delta may have both. The text comes first, and each is counted once."""
    fragment = ToolCallFragment(call_index=0, id="c", function_name="f", arguments="{}")
    generation = started()
    events = generation.feed([Delta(text="Look.", reasoning="hm", fragments=(fragment,))], 2)
    assert [e.kind for e in events] == [RecordKind.TOKENS, RecordKind.FRAGMENTS]
    assert [(t.text, t.reasoning) for t in events[0].tokens] == [("Look.", "hm")]
    assert events[-1].usage.output == len("Look.") + len("hm") + len("f{}")
    told = started()
    told.feed([Delta(text="Look.", count=3, fragments=(fragment,))], 2)
    assert told.usage.output == 3


@pytest.mark.parametrize("count", [3, 0, None])
def test_opaque_bytes_next_to_a_tool_call_are_not_lost(count) -> None:
    """They come before the call, like the reasoning that they belong to, and cost no token of their own."""
    fragment = ToolCallFragment(call_index=0, id="c", function_name="f", arguments="{}")
    generation = started()
    events = generation.feed([Delta(opaque=b"signed", count=count, fragments=(fragment,))], 2)
    assert [e.kind for e in events] == [RecordKind.TOKENS, RecordKind.FRAGMENTS]
    assert [(t.opaque, t.text, t.count) for t in events[0].tokens] == [(b"signed", "", 0)]
    assert generation.usage.output == (len("f{}") if count is None else count)
    omitted = started(output=OutputOptions(omit_reasoning=True))
    events = omitted.feed([Delta(opaque=b"signed", fragments=(fragment,))], 2)
    assert [e.kind for e in events] == [RecordKind.FRAGMENTS]


def test_opaque_bytes_next_to_text_are_not_lost() -> None:
    """The same beside text."""
    (event,) = started().feed([Delta(text="a", opaque=b"signed", count=1)], 2)
    assert [(t.text, t.opaque, t.count) for t in event.tokens] == [("a", b"signed", 1)]


def test_incomplete_characters_of_an_engine_are_repaired() -> None:
    """Names, ids and finish reasons that cannot be encoded are repaired."""
    generation = started()
    fragment = ToolCallFragment(call_index=0, id="\ud83d", function_name="f\udc00")
    ((sent,),) = [e.fragments for e in generation.feed([Delta(fragments=(fragment,), count=1)], 2)]
    assert (sent.id, sent.function_name) == ("\ufffd", "f\ufffd")
    finish = EngineFinish(reason=FinishReason.OTHER, word="\ud83d", matched_stop="\ud83d")
    termination = Termination.of(finish)
    assert (termination.word, termination.matched_stop) == ("\ufffd", "\ufffd")


def test_counts_above_the_contracts_limit_are_refused() -> None:
    """Usage stops at the largest int32. More tokens than that are the engine's error."""
    generation = started()
    generation.feed([Delta(usage=UsageReport(input=1, output=2**31 - 1))], 2)
    generation.feed([Delta(text="more", count=1)], 3)
    assert generation.usage.output == 2**31 - 1
    with pytest.raises(EngineProtocolError):
        generation.feed([Delta(text="a", count=2**31)], 4)
