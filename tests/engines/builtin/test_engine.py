"""The builtin engine through the `Engine` protocol: real sampling over a small model."""

from __future__ import annotations

import asyncio
import math
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokengrpc.core.model import Capability, Delta, FinishReason
from tokengrpc.core.ports.engine import Continuation
from tokengrpc.core.request import GenerationRequest, Message, OutputOptions, Role, Sampling, TextPart
from tokengrpc.core.text import IncrementalDecoder
from tokengrpc.engines.builtin.engine import BuiltinEngine, create
from tokengrpc.engines.builtin.guide import learn
from tokengrpc.engines.builtin.settings import BuiltinSettings
from tokengrpc.errors import ContextLengthExceeded, InvalidRequest
from tokengrpc.tokenizers.tiktoken import END_OF_TEXT, load

if TYPE_CHECKING:
    from tokengrpc.core.ports.engine import Engine

QUESTION = "What is token streaming?"
NO_END = {END_OF_TEXT: -100.0}


@pytest.fixture
async def engine():
    engine: Engine = create(BuiltinSettings(name="default"), None)
    await engine.start()
    yield engine
    await engine.close()


def ask(prompt: str = QUESTION, *, limit: int | None = None, output=None, **sampling) -> GenerationRequest:
    return GenerationRequest(
        prompt=prompt,
        max_output_token_count=limit,
        sampling=Sampling(**{"seed": 1, **sampling}),
        output=output or OutputOptions(),
    )


async def run(engine, request, continue_from=None) -> list[Delta]:
    async with aclosing(engine.generate(request, continue_from)) as batches:
        return [delta async for batch in batches for delta in batch]


def text_of(deltas) -> str:
    characters = IncrementalDecoder()
    pieces = [characters.push(delta.raw) if delta.text is None else delta.text for delta in deltas]
    return "".join(pieces) + characters.flush()


async def test_the_first_batch_is_empty(engine):
    """An empty batch says that the request was accepted."""
    async with aclosing(engine.generate(ask())) as batches:
        assert len(await anext(batches)) == 0
        assert len(await anext(batches)) > 0


async def test_deltas_are_tokens(engine):
    """Each delta is one token with its id and bytes; the last one alone has the finish and the usage."""
    deltas = await run(engine, ask())
    tokenizer = load("o200k_base", exact=True)
    assert [delta.count for delta in deltas] == [1] * len(deltas)
    assert all(tokenizer.token_bytes(delta.id) == delta.raw for delta in deltas[:-1])
    assert all(delta.finish is None and delta.usage is None for delta in deltas[:-1])
    assert deltas[-1].finish is not None


@pytest.mark.parametrize("seed", range(10))
async def test_the_answer_is_on_topic(engine, seed):
    """With default sampling, the answer to the guide's first question begins with its first sentence."""
    text = text_of(await run(engine, ask(seed=seed)))
    assert text.startswith("Token streaming is a way of")


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("How do deadlines work in gRPC?", "deadline"),
        ("how can a user cancel an answer", "Cancel"),
        ("Explain backpressure", "reader"),
        ("Tell me a joke about penguins", "builtin engine"),
        ("", "builtin engine"),
    ],
)
async def test_the_topic_follows_the_question(engine, question, word):
    """A question selects the section about it. If no section matches, the engine describes itself."""
    assert word in text_of(await run(engine, ask(question, temperature=0)))


async def test_every_heading_leads_to_its_own_answer():
    """Each section's heading selects that section."""
    openings = {heading: learn().opening(heading) for heading in learn().headings}
    assert len(set(openings.values())) == len(openings)


async def test_the_last_user_message_drives_the_topic(engine):
    """In a conversation, the engine answers the user's last message."""
    turns = [(Role.USER, QUESTION), (Role.ASSISTANT, "A way."), (Role.USER, "And what is a deadline?")]
    messages = tuple(Message(role=role, parts=(TextPart(text=text),)) for role, text in turns)
    deltas = await run(engine, GenerationRequest(messages=messages, sampling=Sampling(temperature=0)))
    assert text_of(deltas).startswith("A deadline is")
    assert deltas[-1].usage.input == load("o200k_base", exact=True).count_input(messages, ())


async def test_a_text_from_the_guide_is_continued(engine):
    """If a prompt ends with tokens that occur in the guide, it is continued instead of answered."""
    deltas = await run(engine, ask("Token streaming is a way of delivering the", temperature=0))
    assert text_of(deltas).startswith(" output")


async def test_token_ids_equal_their_text(engine):
    """The same prompt as text and as token ids gives the same answer and usage."""
    ids = tuple(load("o200k_base", exact=True).encode(QUESTION))
    by_ids = GenerationRequest(prompt_token_ids=ids, sampling=Sampling(seed=1))
    assert await run(engine, by_ids) == await run(engine, ask())


async def test_an_id_outside_the_vocabulary_is_refused(engine):
    """An unknown token id raises InvalidRequest, which names the field."""
    with pytest.raises(InvalidRequest) as caught:
        await run(engine, GenerationRequest(prompt_token_ids=(24912, 199_998)))
    assert caught.value.violations[0][0] == "prompt_token_ids"


@pytest.mark.parametrize("seed", [0, 1, -1, 2**63 - 1, -(2**63)])
async def test_a_seed_makes_it_repeatable(engine, seed):
    """The same request with the same seed gives the same deltas."""
    assert await run(engine, ask(seed=seed)) == await run(engine, ask(seed=seed))


async def test_other_seeds_give_other_answers(engine):
    """Different seeds, a number and its negative among them, give different answers."""
    answers = {text_of(await run(engine, ask(seed=seed, temperature=1.0))) for seed in range(-5, 6)}
    assert len(answers) > 8


async def test_a_request_without_a_seed_gets_a_new_one():
    """Without a seed, the engine takes one from `new_seed`."""
    seeds = iter([5, 6])
    engine = BuiltinEngine("default", new_seed=lambda: next(seeds))
    assert await run(engine, ask(seed=None)) == await run(engine, ask(seed=5))
    assert await run(engine, ask(seed=None)) == await run(engine, ask(seed=6))


def test_missing_capabilities_are_not_declared():
    """The setting removes capabilities from one engine, so that tests can imitate less capable engines."""
    settings = BuiltinSettings(name="m", missing_capabilities=(Capability.CONTINUE_TOKEN_IDS,))
    made = create(settings, None)
    assert BuiltinEngine.capabilities - made.capabilities == {Capability.CONTINUE_TOKEN_IDS}


async def test_greedy_needs_no_seed(engine):
    """At temperature 0 the seed changes nothing."""
    assert await run(engine, ask(seed=1, temperature=0)) == await run(engine, ask(seed=2, temperature=0))


async def test_the_end_mark_is_counted(engine):
    """If an answer ends by itself, its last token is the end mark, which has no text."""
    deltas = await run(engine, ask(limit=2000))
    assert (deltas[-1].finish.reason, deltas[-1].finish.word) == (FinishReason.END, "stop")
    assert (deltas[-1].id, deltas[-1].raw) == (END_OF_TEXT, b"")
    usage = deltas[-1].usage
    assert (usage.input, usage.output) == (load("o200k_base", exact=True).count(QUESTION), len(deltas))


@pytest.mark.parametrize("limit", [1, 2, 31, 32, 33, 64])
async def test_no_more_tokens_than_the_limit(engine, limit):
    """At the limit on output tokens the answer ends. Its last token is in the last delta."""
    deltas = await run(engine, ask(limit=limit, logit_bias=NO_END))
    assert len(deltas) == limit
    assert (deltas[-1].finish.reason, deltas[-1].finish.word) == (FinishReason.MAX_TOKENS, "length")
    assert deltas[-1].usage.output == limit


async def test_the_default_limit(engine):
    """By default an answer has at most 256 tokens."""
    assert len(await run(engine, ask(logit_bias=NO_END))) == 256


async def test_the_context_limits_input_and_output():
    """A small context ends the answer; an input that fills it is refused."""
    engine = create(BuiltinSettings(context_token_count=20), None)
    deltas = await run(engine, ask())
    assert deltas[-1].finish.reason is FinishReason.CONTEXT_LENGTH
    assert deltas[-1].usage.input + deltas[-1].usage.output == 20
    with pytest.raises(ContextLengthExceeded):
        await run(engine, ask("word " * 20))


async def test_logprobs_only_when_asked_for(engine):
    """Without the option there are no logprobs; with 0 only those of the chosen tokens."""
    assert all(delta.logprob is None for delta in await run(engine, ask()))
    deltas = await run(engine, ask(output=OutputOptions(top_logprob_count=0)))
    assert all(delta.logprob <= 0 and not delta.top_logprobs for delta in deltas)


async def test_top_logprobs_are_the_likeliest(engine):
    """There are as many as requested, likeliest first. The first is the greedy choice and its logprob."""
    deltas = await run(engine, ask(temperature=0, output=OutputOptions(top_logprob_count=20)))
    for delta in deltas:
        values = [top.logprob for top in delta.top_logprobs]
        assert values == sorted(values, reverse=True)
        assert len({top.id for top in delta.top_logprobs}) == 20
        assert (delta.top_logprobs[0].id, delta.top_logprobs[0].logprob) == (delta.id, delta.logprob)
        assert math.fsum(map(math.exp, values)) <= 1 + 1e-9


async def test_logprobs_of_the_whole_vocabulary_sum_to_one(engine):
    """The probabilities of all tokens that the model knows sum to 1."""
    size = len(learn().model.unigram.probabilities)
    output = OutputOptions(top_logprob_count=size)
    for delta in await run(engine, ask(limit=5, output=output)):
        assert math.isclose(math.fsum(math.exp(top.logprob) for top in delta.top_logprobs), 1)


async def test_logprobs_are_those_of_the_model(engine):
    """Temperature, truncation and bias change the drawn tokens, but not their logprobs."""
    output = OutputOptions(top_logprob_count=5)
    plain = await run(engine, ask(temperature=0, output=output, limit=40))
    cut = await run(engine, ask(temperature=0.1, top_k=1, logit_bias={24912: -5.0}, output=output, limit=40))
    assert [delta.top_logprobs for delta in plain] == [delta.top_logprobs for delta in cut]


async def test_a_bias_forces_a_token(engine):
    """A bias of 100 forces a token, and its logprob is finite."""
    output = OutputOptions(top_logprob_count=1)
    deltas = await run(engine, ask(limit=3, logit_bias={24912: 100.0}, output=output))
    assert text_of(deltas) == "hello" * 3
    assert all(delta.logprob < -10 and math.isfinite(delta.logprob) for delta in deltas)


async def test_a_stop_sequence_ends_the_answer(engine):
    """The text ends before the stop sequence, which may begin inside a token. The finish names it."""
    full_text = text_of(await run(engine, ask(temperature=0)))
    stop = full_text[70:83]
    deltas = await run(engine, ask(temperature=0, stop_sequences=("never said", stop)))
    assert text_of(deltas) == full_text[: full_text.index(stop)]
    finish = deltas[-1].finish
    assert (finish.reason, finish.word, finish.matched_stop) == (FinishReason.STOP_SEQUENCE, "stop", stop)
    assert deltas[-1].usage.output == len(deltas)


@given(st.integers(0, 50), st.lists(st.text("aeist .", min_size=1, max_size=4), min_size=1, max_size=3))
def test_stop_sequences_are_never_in_the_text(seed, stops):
    """The text equals the output without stop sequences, up to the first of them."""
    engine = BuiltinEngine("default")
    full_text = text_of(asyncio.run(run(engine, ask(seed=seed, limit=60))))
    deltas = asyncio.run(run(engine, ask(seed=seed, limit=60, stop_sequences=tuple(stops))))
    positions = [full_text.index(stop) for stop in stops if stop in full_text]
    assert text_of(deltas) == full_text[: min(positions, default=len(full_text))]
    assert bool(deltas[-1].finish.matched_stop) == bool(positions)


async def test_held_text_is_released_at_the_end(engine):
    """Text that may begin a stop sequence is held back until the last token."""
    text = text_of(await run(engine, ask(temperature=0, limit=5)))
    deltas = await run(engine, ask(temperature=0, limit=5, stop_sequences=(text + " and on",)))
    assert [delta.text for delta in deltas] == ["", "", "", "", text]


async def test_characters_over_several_tokens_are_whole(engine):
    """Characters whose bytes span several tokens are not cut, with and without stop sequences."""
    question = "Why can a token end inside a character?"
    plain = await run(engine, ask(question, temperature=0))
    held = await run(engine, ask(question, temperature=0, stop_sequences=("never said",)))
    assert "🦜" in text_of(plain)
    assert any(b"\xf0" in delta.raw and "🦜".encode() not in delta.raw for delta in plain)
    assert text_of(held) == text_of(plain)
    assert "\ufffd" not in "".join(delta.text for delta in held)


@pytest.mark.parametrize("stops", [(), ("token is", "the reader"), ("never said", " and")])
@pytest.mark.parametrize("cut", [0, 1, 7])
async def test_a_continuation_by_token_ids_is_exact(engine, cut, stops):
    """A continuation after `cut` tokens equals the rest of an uninterrupted run."""
    question = "Why can a token end inside a character?"
    request = ask(question, stop_sequences=stops, limit=50, presence_penalty=0.2)
    uninterrupted = await run(engine, request)
    ids = tuple(delta.id for delta in uninterrupted[:cut])
    emitted = "".join(delta.text or "" for delta in uninterrupted[:cut])
    remaining = replace(request, max_output_token_count=50 - cut)
    rest = await run(engine, remaining, Continuation(token_ids=ids, text=emitted))
    assert [(d.text, d.raw, d.finish) for d in rest] == [
        (d.text, d.raw, d.finish) for d in uninterrupted[cut:]
    ]


async def test_a_continuation_by_text(engine):
    """A continuation by text alone begins where the text ends."""
    full_text = text_of(await run(engine, ask(temperature=0)))
    before = full_text[: full_text.index(" language model")]
    rest = await run(engine, ask(temperature=0), Continuation(token_ids=None, text=before))
    assert before + text_of(rest) == full_text


async def test_a_continuation_respects_the_limit(engine):
    """A requested limit counts new tokens only, the default counts all. Earlier output counts as input."""
    continuation = Continuation(token_ids=(24912, 2375), text="hello world")
    deltas = await run(engine, ask(limit=3, logit_bias=NO_END), continuation)
    assert (deltas[-1].usage.input, deltas[-1].usage.output) == (5 + 2, 3)
    unlimited = await run(engine, ask(logit_bias=NO_END), continuation)
    assert unlimited[-1].usage.output == 256 - 2


async def test_with_a_pace_tokens_come_one_by_one(engine):
    """A pace delays tokens by the loop's clock and changes nothing else."""
    paced = create(BuiltinSettings(pace=200.0), None)
    loop = asyncio.get_running_loop()
    begin, times, deltas = loop.time(), [], []
    async for batch in paced.generate(ask(limit=10)):
        times.append(loop.time())
        deltas += batch
        assert len(batch) <= 1
    grain = 0.002  # uvloop's clock counts milliseconds
    assert all(time - begin >= number / 200 - grain for number, time in enumerate(times))
    assert deltas == await run(engine, ask(limit=10))


async def test_without_a_pace_other_tasks_run(engine):
    """Other tasks run while a long answer is generated, and batches are bounded."""
    turns, done = 0, False

    async def count_turns():
        nonlocal turns
        while not done:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(count_turns())
    async for batch in engine.generate(ask(limit=640, logit_bias=NO_END)):
        assert len(batch) <= 32
    done = True
    await other
    assert turns >= 640 / 32


@pytest.mark.parametrize("pace", [0.0, 1000.0])
async def test_closing_midway_leaves_nothing(pace):
    """A generator that is closed before its end stops and leaves no task behind."""
    engine = create(BuiltinSettings(pace=pace), None)
    before = asyncio.all_tasks()
    async with aclosing(engine.generate(ask(limit=100_000, logit_bias=NO_END))) as batches:
        await anext(batches)
        assert await anext(batches)
    with pytest.raises(StopAsyncIteration):
        await anext(batches)
    assert asyncio.all_tasks() == before


async def test_cancelling_while_paced_stops_at_once():
    """If the consumer is cancelled while it waits for the next token, the generator ends."""
    engine = create(BuiltinSettings(pace=0.001), None)
    batches = engine.generate(ask())
    await anext(batches)
    waiting = asyncio.ensure_future(anext(batches))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(StopAsyncIteration):
        await anext(batches)


async def test_name_health_and_capabilities():
    """It has its model's name, is healthy once started, and declares its capabilities."""
    engine = create(BuiltinSettings(name="small"), load("o200k_base", exact=True))
    assert (engine.name, engine.kind, engine.healthy) == ("small", "builtin", None)
    await engine.start()
    assert engine.healthy is True
    assert {Capability.PROMPT, Capability.CONTINUE_TOKEN_IDS} <= engine.capabilities
    assert Capability.TOOLS not in engine.capabilities
