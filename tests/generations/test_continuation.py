"""Continuation on another engine after the first token.

Exact, reported to the caller and billed, or refused.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.pools import Dying, Played, generate
from tokengrpc.core.model import (
    Capability,
    Delta,
    EngineFinish,
    FinishReason,
    ToolCallFragment,
    UsageReport,
    UsageSource,
)
from tokengrpc.core.ports.engine import Continuation
from tokengrpc.core.request import (
    GenerationRequest,
    ImagePart,
    Limits,
    Message,
    OutputConstraint,
    OutputOptions,
    Recovery,
    Role,
    Sampling,
    Tool,
    ToolChoice,
)
from tokengrpc.core.text import IncrementalDecoder
from tokengrpc.engines.builtin.guide import learn
from tokengrpc.errors import EngineAborted, EngineLost, EngineUnavailable, InvalidRequest, UnsupportedFeature

# A prompt whose answer has characters of several tokens.
QUESTION = "Why can a token end inside a character?"
LOST = EngineLost("gone")
END = Delta(count=0, finish=EngineFinish(reason=FinishReason.END, word="stop"))


@pytest.fixture(autouse=True, scope="module")
def _learned():
    learn()


def ask(*, switches: int = 8, most: int | None = 80, seed: int | None = 3, **more) -> GenerationRequest:
    sampling = Sampling(seed=seed, **more.pop("sampling", {}))
    given_input = {} if {"messages", "prompt_token_ids"} & more.keys() else {"prompt": QUESTION}
    return GenerationRequest(
        max_output_token_count=most,
        sampling=sampling,
        output=more.pop("output", OutputOptions(token_ids=True)),
        recovery=Recovery(max_engine_switch_count=switches),
        **given_input,
        **more,
    )


def word(text: str, number: int, **more) -> Delta:
    return Delta(text=text, count=1, id=number, **more)


# --- Exact continuation by token ids: a builtin engine with a seed gives the same output with and without
# losses.


async def broken_and_whole(request, lives_of_a, lives_of_b):
    whole = await generate(replace(request, recovery=Recovery()), Dying("a", []))
    told = await generate(request, Dying("a", lives_of_a), Dying("b", lives_of_b))
    return whole, told


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 50), max_size=4),
    st.lists(st.integers(0, 50), max_size=4),
    st.sampled_from([1, 40, 80, None]),
)
def test_output_is_the_same_wherever_engines_are_lost(lives_of_a, lives_of_b, most):
    """Text, ids, indexes, finish and usage equal those without a loss. Additional cost is overhead."""
    request = ask(most=most)
    whole, told = asyncio.run(broken_and_whole(request, lives_of_a, lives_of_b))
    if told.error:
        # Both engines were lost before a first token.
        assert told.error == "ENGINE_LOST"
        assert told.ids == whole.ids[: len(told.ids)]
        assert whole.text.startswith(told.text.rstrip("\ufffd"))
        return
    assert told.text == whole.text
    assert told.ids == whole.ids
    assert told.finished.finish_reason == whole.finished.finish_reason
    assert told.finished.engine_finish_reason == whole.finished.engine_finish_reason
    input_count = whole.usage.input_token_count
    assert told.usage.input_token_count == input_count
    assert told.usage.output_token_count == whole.usage.output_token_count
    # The last engine reports the whole input only if the generation began on it.
    assert told.usage.source == (UsageSource.COUNTED if told.switches else UsageSource.ENGINE)
    prefills = [input_count + index for index in indexes_after_switches(told)]
    assert told.usage.overhead_token_count == sum(prefills)
    for switch in told.switches:
        assert (switch.reason, switch.continuation_method) == ("ENGINE_LOST", 1)
        assert {switch.from_engine, switch.to_engine} == {"a", "b"}


def indexes_after_switches(told) -> list[int]:
    """Returns the index of the next token after each switch."""
    messages = told.messages
    places = [i for i, message in enumerate(messages) if message.WhichOneof("event") == "engine_switched"]
    return [next(t.index for message in messages[i:] for t in message.tokens) for i in places]


@pytest.mark.parametrize("cut", range(1, 60))
async def test_characters_survive_a_switch_after_every_token(cut):
    """By ids, the remaining bytes of a character follow.

    By text, the complete character is generated again.
    """
    whole = await generate(ask(switches=0, most=60), Dying("a", []))
    by_ids = await generate(ask(most=60), Dying("a", [cut]), Dying("b", []))
    assert by_ids.text == whole.text
    assert (by_ids.switches[0].continuation_method, by_ids.ids) == (1, whole.ids)
    goes_on = Dying("b", [], kind="another")
    by_text = await generate(ask(most=60), Dying("a", [cut]), goes_on)
    ((request, continuation),) = goes_on.calls
    before = "".join(token.text for token in by_text.tokens[:cut])
    assert whole.text.startswith(before)
    assert "\ufffd" not in by_text.text
    assert request.max_output_token_count == 60 - cut
    if continuation is None:
        assert before == ""
    else:
        assert continuation == Continuation(token_ids=None, text=before)
    rest = await generate_rest(request, continuation)
    assert by_text.text == before + rest
    assert by_text.switches[0].continuation_method == 2
    assert by_text.usage.output_token_count == len(by_text.tokens)


async def generate_rest(request, continuation) -> str:
    """Returns the output of the engine without any continuation."""
    text, characters = "", IncrementalDecoder()
    async for batch in Dying("x", []).generate(request, continuation):
        for delta in batch:
            text += delta.text if delta.text is not None else characters.push(delta.raw)
    return text + characters.flush()


@pytest.mark.parametrize("cut", range(1, 40, 3))
async def test_held_back_text_is_generated_again(cut):
    """A stop sequence that began before the switch still matches after it."""
    whole = await generate(ask(switches=0, most=40), Dying("a", []))
    stop = whole.text[30:60]
    request = ask(most=40, sampling={"stop_sequences": (stop,)})
    goes_on = Dying("b", [])
    told = await generate(request, Dying("a", [cut]), goes_on)
    assert stop not in told.text
    if not goes_on.calls:
        assert told.finished.matched_stop_sequence == stop
        return
    ((sent, continuation),) = goes_on.calls
    before = continuation.text if continuation else ""
    assert whole.text.startswith(before)
    exact = continuation is not None and continuation.token_ids is not None
    assert told.text == before + await generate_rest(sent, continuation)
    if exact:
        assert told.text == whole.text[: whole.text.index(stop)]


# --- What is reported, and when.


async def test_a_switch_is_reported_before_the_next_engines_output():
    """The event has both names, the reason and the method.

    An engine that fails before a token is not reported.
    """
    a = Played("a", [(), [word("One", 1)], EngineAborted("out of memory")])
    b = Played("b", [(), EngineUnavailable("no")])
    c = Played("c", [(), [word(" two", 2)], [END]])
    told = await generate(ask(), a, b, c)
    kinds = [m.WhichOneof("event") or "tokens" for m in told.messages]
    assert kinds == ["started", "tokens", "engine_switched", "tokens", "finished"]
    (switch,) = told.switches
    assert (switch.from_engine, switch.to_engine, switch.reason) == ("a", "c", "ENGINE_ABORTED")
    assert told.text == "One two"
    assert told.entry.engines == ("a", "b", "c")
    assert [continuation for _, continuation in b.calls + c.calls] == [
        Continuation(token_ids=(1,), text="One")
    ] * 2


async def test_a_silent_engine_is_replaced():
    """The inter-token timeout ends the attempt, not the generation."""
    a = Played("a", [(), [word("One", 1)], None])
    b = Played("b", [(), [word(" two", 2)], [END]])
    told = await generate(ask(limits=Limits(inter_token_timeout=0.05)), a, b)
    assert told.text == "One two"
    assert told.switches[0].reason == "ENGINE_STALLED"
    assert told.error == ""


async def test_the_next_engine_has_the_first_token_timeout():
    """When the timeout expires, the generation fails with the first loss."""
    a = Played("a", [(), [word("One", 1)], LOST])
    b = Played("b", [(), None])
    told = await generate(ask(limits=Limits(first_token_timeout=0.05, inter_token_timeout=30)), a, b)
    assert (told.text, told.error, told.switches) == ("One", "ENGINE_LOST", [])


async def test_the_request_bounds_the_number_of_switches():
    """After the last allowed switch, a loss ends the generation."""
    a = Played("a", [(), [word("One", 1)], LOST], [(), [word("x", 4)], [END]])
    b = Played("b", [(), [word(" two", 2)], EngineAborted("gave up")])
    told = await generate(ask(switches=1), a, b)
    assert (told.text, told.error, len(told.switches)) == ("One two", "ENGINE_ABORTED", 1)
    a = Played("a", [(), [word("One", 1)], LOST], [(), [word(" three", 3)], [END]])
    b = Played("b", [(), [word(" two", 2)], EngineAborted("gave up")])
    told = await generate(ask(switches=2), a, b)
    assert (told.text, told.error, len(told.switches)) == ("One two three", "", 2)


async def test_the_next_engine_gets_the_first_ones_ids_and_input():
    """The ids are requested from the engine although the caller did not ask for them.

    They are not sent to the caller.
    """
    a = Played("a", [(), [Delta(count=0, prompt_ids=(7, 8)), word("One", 1)], LOST], [EngineUnavailable("x")])
    b = Played("b", [(), [Delta(count=0, prompt_ids=(7, 8, 1)), word(" two", 2)], LOST])
    c = Played("c", [(), [word(" three", 3)], [END]])
    told = await generate(ask(output=OutputOptions()), a, b, c)
    assert a.calls[0][0].output.token_ids
    assert not any(token.HasField("id") for token in told.tokens)
    assert [continuation for _, continuation in b.calls + c.calls] == [
        Continuation(token_ids=(1,), text="One", prompt_token_ids=(7, 8)),
        Continuation(token_ids=(1, 2), text="One two", prompt_token_ids=(7, 8)),
    ]


async def test_ids_are_not_requested_if_nobody_needs_them():
    """That is, if the request allows no switch, or no engine can continue from ids."""
    for request, b in (
        (ask(switches=0, output=OutputOptions()), Played("b")),
        (ask(output=OutputOptions()), Played("b", without=(Capability.CONTINUE_TOKEN_IDS,))),
        (ask(output=OutputOptions()), Played("b", kind="another")),
    ):
        a = Played("a", [(), [END]])
        await generate(request, a, b)
        assert not a.calls[0][0].output.token_ids


async def test_an_engine_that_refuses_ids_continues_from_text():
    """The engine refuses when it is called with ids."""
    a = Played("a", [(), [word("One", 1)], LOST])
    b = Played("b", [UnsupportedFeature("not from ids")], [(), [word(" two", 2)], [END]])
    told = await generate(ask(), a, b)
    assert told.text == "One two"
    assert [bool(continuation.token_ids) for _, continuation in b.calls] == [True, False]
    assert told.switches[0].continuation_method == 2


async def test_after_a_continuation_by_text_ids_are_unknown():
    """The tokens of the text before the switch are unknown, so the next switch is by text as well."""
    a = Played("a", [(), [Delta(text="One", count=1)], LOST], [EngineUnavailable("x")])
    b = Played("b", [(), [word(" two", 2)], LOST])
    c = Played("c", [(), [word(" three", 3)], [END]])
    told = await generate(ask(), a, b, c)
    assert (told.text, [switch.continuation_method for switch in told.switches]) == ("One two three", [2, 2])
    assert c.calls[0][1] == Continuation(token_ids=None, text="One two")


# --- Output that is never continued.

CALL = ToolCallFragment(call_index=0, id="c", function_name="f", arguments="{")
IMAGE = (Message(role=Role.USER, parts=(ImagePart(uri="https://x/y.png"),)),)
TOOLS = (Tool(name="f"),)
REFUSED = {
    "no switches allowed": (ask(switches=0), [word("One", 1)]),
    "a constraint": (ask(constraint=OutputConstraint(regex="x")), [word("One", 1)]),
    "tools that may be called": (ask(tools=TOOLS), [word("One", 1)]),
    "a call under way": (ask(), [Delta(count=1, id=1, fragments=(CALL,))]),
    "reasoning under way": (ask(), [Delta(reasoning="hm", count=1, id=1)]),
    "reasoning before the answer, by text": (
        ask(),
        [Delta(reasoning="hm", count=1), Delta(text="One", count=1)],
    ),
    "a refusal": (ask(), [Delta(refusal="no", count=1, id=1)]),
    "a stop sequence under way": (
        ask(sampling={"stop_sequences": ("x", "STOP")}),
        [word("One ST", 1, raw=b"One ST")],
    ),
    "penalties over the output": (ask(sampling={"presence_penalty": 0.5}), [word("One", 1)]),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_output_that_cannot_be_continued_is_lost(name):
    """The generation ends with the engine's own reason, and no other engine is called."""
    request, batch = REFUSED[name]
    b = Played("b")
    told = await generate(request, Played("a", [(), batch, LOST]), b)
    assert told.error == "ENGINE_LOST"
    assert not b.calls


CONTINUED = {
    "tools that must not be called": (
        ask(tools=TOOLS, tool_choice=ToolChoice(mode="none")),
        [word("One", 1)],
        1,
    ),
    "reasoning that was over, by ids": (
        ask(),
        [Delta(reasoning="hm", count=1, id=9), word("One", 1)],
        1,
    ),
    "an image, by text": (ask(messages=IMAGE), [word("One", 1)], 2),
    "an id missing, by text": (ask(), [word("One", 1), Delta(text="!", count=1)], 2),
    "several tokens under one id, by text": (ask(), [Delta(text="One", count=2, id=1)], 2),
    "half a surrogate pair, by text": (ask(), [word("One", 1), word("\ud83e", 2)], 2),
    "stop sequences without bytes, by text": (
        ask(sampling={"stop_sequences": ("x",)}),
        [word("One", 1)],
        2,
    ),
    "stop sequences with all bytes out": (
        ask(sampling={"stop_sequences": ("x",)}),
        [word("One", 1, raw=b"One")],
        1,
    ),
    "stop sequences with bytes held back, by text": (
        ask(sampling={"stop_sequences": ("x",)}),
        [word("On", 1, raw=b"One")],
        2,
    ),
}


@pytest.mark.parametrize("name", CONTINUED)
async def test_output_that_can_be_continued_is_continued(name):
    """By ids if no text is held back, otherwise from the text."""
    request, batch, method = CONTINUED[name]
    b = Played("b", [(), [word(" two", 5)], [END]])
    told = await generate(request, Played("a", [(), batch, LOST]), b)
    assert told.error == ""
    assert told.switches[0].continuation_method == method
    assert told.text.endswith(" two")
    assert "\ufffd" not in told.text


async def test_without_a_capable_engine_the_loss_is_reported():
    """The other engine supports neither method."""
    b = Played("b", without=(Capability.CONTINUE_TOKEN_IDS, Capability.CONTINUE_TEXT))
    told = await generate(ask(), Played("a", [(), [word("One", 1)], LOST]), b)
    assert (told.error, b.calls) == ("ENGINE_LOST", [])


async def test_if_every_continuation_fails_the_first_loss_counts():
    """The errors of the other engines do not matter."""
    a = Played("a", [(), [word("One", 1)], LOST])
    told = await generate(ask(), a, Played("b", [InvalidRequest([("", "no")])]))
    assert (told.text, told.error) == ("One", "ENGINE_LOST")


# --- Limits and usage.


async def test_the_output_limit_applies_to_all_engines_together():
    """The next engine is asked for the remaining tokens. If none remain, the output is complete."""
    a = Played("a", [(), [word("One", 1), word(" two", 2)], LOST])
    b = Played("b", [(), [word(" three", 3), replaced_finish(FinishReason.MAX_TOKENS)]])
    told = await generate(ask(most=3), a, b)
    assert b.calls[0][0].max_output_token_count == 1
    assert (told.text, told.finished.finish_reason) == ("One two three", 3)
    a = Played("a", [(), [word("One", 1), word(" two", 2)], LOST])
    told = await generate(ask(most=2), a, Played("b"))
    assert (told.error, told.finished.finish_reason) == ("", 3)
    assert told.usage.output_token_count == 2


async def test_a_limit_counted_by_us_alone_is_not_a_finish():
    """The engine may have had more output, so its loss is reported."""
    a = Played("a", [(), [Delta(text="One")], LOST])
    told = await generate(ask(most=1), a, Played("b"))
    assert (told.text, told.error) == ("One", "ENGINE_LOST")


def replaced_finish(reason: FinishReason) -> Delta:
    return Delta(count=0, finish=EngineFinish(reason=reason))


async def test_usage_counts_all_work_that_was_done():
    """The input counts once, the output of all engines, the second prefill as overhead.

    Engines' counts take precedence.
    """
    a = Played(
        "a",
        [
            (),
            [word("One", 1, usage=UsageReport(input=10, output=1, cached_input=4))],
            [word(" two", 2, usage=UsageReport(input=10, output=2))],
            LOST,
        ],
    )
    b = Played(
        "b",
        [
            (),
            [word(" three", 3)],
            [Delta(count=0, usage=UsageReport(input=12, output=1, cached_input=12), finish=END.finish)],
        ],
    )
    told = await generate(ask(), a, b)
    usage = told.usage
    assert (usage.input_token_count, usage.output_token_count) == (10, 3)
    assert (usage.overhead_token_count, usage.cached_input_token_count) == (12, 4)
    assert usage.source == UsageSource.ENGINE
    switched = next(m for m in told.messages if m.WhichOneof("event") == "engine_switched")
    assert switched.usage.overhead_token_count == 12


async def test_usage_is_an_estimate_if_the_lost_engine_sent_none():
    """The weakest source is reported, even if the next engine reports its own usage."""
    a = Played("a", [(), [Delta(text="One two")], LOST])
    b = Played(
        "b",
        [
            (),
            [Delta(text=" three")],
            [Delta(count=0, usage=UsageReport(input=12, output=1), finish=END.finish)],
        ],
    )
    told = await generate(ask(), a, b)
    assert told.usage.output_token_count == 2 + 1
    assert told.usage.overhead_token_count == 12
    assert told.usage.source == UsageSource.COUNTED
