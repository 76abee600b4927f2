"""Deltas that are encoded as a server's events and decoded again are the same, wherever bytes are cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tokengrpc.core.generation import Generation
from tokengrpc.core.model import Delta, EngineFinish, FinishReason, ToolCallFragment, UsageReport
from tokengrpc.core.request import GenerationRequest, OutputOptions
from tokengrpc.core.termination import Termination
from tokengrpc.engines.simulator.client import Decoder
from tokengrpc.engines.simulator.renderer import Renderer
from tokengrpc.engines.upstream.response.sse import SSEDecoder
from tokengrpc.tokenizers.tiktoken import load

if TYPE_CHECKING:
    from collections.abc import Sequence

TOKENIZER = load("o200k_base", exact=True)
texts = st.text(st.characters(codec="utf-16"), max_size=6) | st.sampled_from(["🦜", "é", "\ud83d", "\udc22"])
# A token's text may be U+FFFD, but not its bytes: servers send U+FFFD in place of undecodable bytes.
pieces = st.binary(min_size=1, max_size=5).filter(lambda raw: raw != b"\xef\xbf\xbd") | st.sampled_from(
    ["🦜".encode()[:2], "🦜".encode()[2:]]
)


def spoken(counts: st.SearchStrategy[int | None]) -> st.SearchStrategy[list[Delta]]:
    """Returns a strategy for deltas with texts of all kinds and these counts."""
    fields = ("text", "reasoning", "refusal")
    return st.lists(
        st.one_of(st.builds(Delta, **{name: texts}, count=counts) for name in fields), max_size=12
    )


tokens = st.builds(
    lambda raw, number: Delta(text=None, raw=raw, id=number, count=1), pieces, st.integers(0, 2**31 - 1)
)


def called(pieces: list[tuple[int, str, bytes]]) -> list[Delta]:
    """Returns deltas with fragments of tool calls, numbered in the order in which the calls begin."""
    numbers: dict[int, int] = {}
    return [
        Delta(fragments=(_fragment(numbers.setdefault(call, len(numbers)), arguments, opaque),), count=1)
        for call, arguments, opaque in pieces
    ]


def _fragment(index: int, arguments: str, opaque: bytes) -> ToolCallFragment:
    return ToolCallFragment(
        call_index=index, id=f"c{index}", function_name="f", arguments=arguments, opaque=opaque
    )


opaques = st.binary(max_size=2)
# A name without arguments is withheld, since it may go on, and its count comes later. So are arguments of
# "{}": with others after them, they were a placeholder of the engine.
arguments = st.text(min_size=1, max_size=5).filter(lambda text: text != "{}")
calls = st.lists(st.tuples(st.integers(0, 2), arguments, opaques), max_size=6).map(called)
kinds = spoken(st.integers(1, 3)) | spoken(st.none()) | st.lists(tokens, max_size=12) | calls
finishes = st.sampled_from(
    [
        EngineFinish(reason=FinishReason.MAX_TOKENS, word="length"),
        EngineFinish(reason=FinishReason.STOP_SEQUENCE, word="stop", matched_stop="\n"),
        EngineFinish(reason=FinishReason.CONTEXT_LENGTH, word="model_length"),
        EngineFinish(reason=FinishReason.OTHER, word="bored"),
    ]
)
usages = st.builds(
    UsageReport,
    input=st.integers(1, 9),
    output=st.integers(1, 99) | st.none(),
    cached_input=st.integers(0, 9) | st.none(),
    reasoning=st.integers(0, 9) | st.none(),
).filter(
    # Parts beyond their totals would be read as counted beside them, and change the totals.
    lambda usage: (usage.cached_input or 0) <= usage.input and (usage.reasoning or 0) <= (usage.output or 0)
)


def transmitted(
    deltas: Sequence[Delta], output: OutputOptions, *, unknown_fields: bool, split: bool, every: int
) -> list[Delta]:
    """Encodes the deltas, cuts the bytes into pieces of `every` bytes, and returns the decoded deltas."""
    renderer = Renderer(unknown_fields=unknown_fields, split_characters=split)
    written = b""
    for delta in deltas:
        written += b"".join(event for event, _ in renderer.events(delta))
        if delta.finish is not None:
            written += b"".join(renderer.ending(delta.finish, delta.usage))
    events, decoder = SSEDecoder(), Decoder("test", output, str)
    read: list[Delta] = []
    for at in range(0, len(written), every):
        read += decoder.feed(events.feed(written[at : at + every]))
    if not decoder.ended:  # without a usage, the decoder waits for one until the body ends
        read += decoder.end(events.close())
    assert decoder.error is None
    return read


def received(deltas: Sequence[Delta], output: OutputOptions) -> dict[str, object]:
    """Returns the output that a caller receives for the deltas."""
    generation = Generation(GenerationRequest(prompt="x", output=output), TOKENIZER, 1)
    events = [*generation.accept("test", 1), *generation.feed(deltas, 2)]
    assert generation.engine_finish is not None
    events += generation.end(Termination.of(generation.engine_finish), 3)
    result: dict[str, object] = {"finish": generation.engine_finish, "usage": generation.usage}
    tokens = [token for event in events for token in event.tokens]
    result["texts"] = [
        "".join(getattr(token, name) for token in tokens) for name in ("text", "reasoning", "refusal")
    ]
    result["ids"] = [token.id for token in tokens if token.id is not None]
    result["raw"] = b"".join(token.raw or b"" for token in tokens)
    result["calls"] = [
        (part.call_index, part.arguments) for event in events for part in event.fragments if part.arguments
    ]
    result["opaque"] = [
        (part.call_index, part.opaque) for event in events for part in event.fragments if part.opaque
    ]
    return result


@settings(max_examples=300)
@given(
    body=kinds,
    finish=finishes,
    usage=usages,
    prompt=st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=3).map(tuple) | st.none(),
    opaque=st.binary(max_size=4),
    detailed=st.booleans(),
    unknown_fields=st.booleans(),
    split=st.booleans(),
    every=st.integers(1, 4000),
)
@example(  # withheld to the end, when the usage in its chunk has counted it already
    body=called([(0, "", b"")]),
    finish=EngineFinish(reason=FinishReason.TOOL_CALLS, word="tool_calls"),
    usage=UsageReport(input=1),
    prompt=None,
    opaque=b"",
    detailed=False,
    unknown_fields=False,
    split=False,
    every=4000,
)
def test_nothing_is_lost(body, finish, usage, prompt, opaque, detailed, unknown_fields, split, every):
    """Text, reasoning, refusals, calls, ids, bytes, finish and usage equal those of the deltas."""
    output = OutputOptions(token_ids=detailed, raw_bytes=detailed, top_logprob_count=0 if detailed else None)
    deltas = [Delta(count=0, prompt_ids=prompt), *body]
    deltas += [Delta(count=0, opaque=opaque), Delta(count=0, usage=usage, finish=finish)]
    read = transmitted(deltas, output, unknown_fields=unknown_fields, split=split, every=every)
    assert [delta.opaque for delta in read if delta.opaque] == [d.opaque for d in deltas if d.opaque]
    assert [(d.text, d.raw) for d in read if d.raw] == [(d.text, d.raw) for d in deltas if d.raw]
    prompts = [delta.prompt_ids for delta in deltas if delta.prompt_ids] if detailed else []
    assert [delta.prompt_ids for delta in read if delta.prompt_ids] == prompts
    expected, actual = received(deltas, output), received(read, output)
    if split and any(delta.count is None for delta in body):
        # If the engine counts nothing, the server counts the halves of a split character separately.
        del expected["usage"], actual["usage"]
    assert actual == expected
