"""Transcripts of all dialects: the caller's output, and the same deltas wherever the bytes are cut."""

from __future__ import annotations

import itertools
import json
import shlex
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.profiles import examples
from tests.support.wire_samples import wire_samples
from tokengrpc.core.generation import Generation
from tokengrpc.core.model import UsageReport, UsageSource
from tokengrpc.core.request import GenerationRequest, OutputOptions
from tokengrpc.core.termination import Termination
from tokengrpc.engines.anthropic.events import EventDecoder
from tokengrpc.engines.openai.chunks.decoder import ChunkDecoder
from tokengrpc.engines.upstream.response.counts import newest
from tokengrpc.engines.upstream.response.reader import decode
from tokengrpc.engines.upstream.response.sse import SSEDecoder
from tokengrpc.errors import EngineLost, TokenGrpcError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.wire_samples import WireSample
    from tokengrpc.core.events import Event
    from tokengrpc.core.model import Delta, Token
    from tokengrpc.engines.upstream.response.decoder import StreamDecoder

    Decoded = tuple[list[Delta], TokenGrpcError | None]

ALL = wire_samples()


def options(sample: WireSample) -> OutputOptions:
    return OutputOptions(
        top_logprob_count=2 if "logprobs" in sample.asked else None,
        token_ids="ids" in sample.asked,
        raw_bytes="raw" in sample.asked,
    )


def decoder_of(sample: WireSample) -> StreamDecoder:
    if sample.dialect == "anthropic":
        return EventDecoder("test")
    return ChunkDecoder("test", options(sample))


def decoded(sample: WireSample, pieces: Sequence[bytes]) -> Decoded:
    """Returns the deltas and the failure, decoded as the engine does it."""
    events, decoder = SSEDecoder(), decoder_of(sample)
    deltas: list[Delta] = []
    for piece in pieces:
        if piece and not decoder.ended:
            deltas += [delta for batch in decode(piece, events, decoder) for delta in batch]
    if not decoder.ended:
        if sample.lost:
            deltas += decoder.cut(EngineLost("the connection broke"))
        else:
            deltas += [delta for batch in decode(b"", events, decoder) for delta in batch]
    assert decoder.ended
    return deltas, decoder.error


def comparable(result: Decoded) -> tuple[list[Delta], type | None, str]:
    deltas, error = result
    return deltas, type(error) if error else None, error.message if error else ""


class CharacterTokenizer:
    """A tokenizer with one token per character, for tokens that the engine does not count."""

    name, exact = "characters", False

    def count(self, text: str) -> int:
        return len(text)

    def count_input(self, messages, tools) -> int:
        return 1


def received(sample: WireSample, result: Decoded) -> dict[str, tuple[str, ...]]:
    """Returns the caller's output in the notation of the samples."""
    deltas, error = result
    request = GenerationRequest(prompt="p", output=options(sample))
    generation = Generation(request, CharacterTokenizer(), 1)
    events = generation.accept("test", 1)
    events += generation.feed(deltas, 1)
    finish = generation.engine_finish
    assert (finish is None) is (error is not None)
    termination = Termination.failed(error) if error else Termination.of(finish)
    events += generation.end(termination, 1)
    tokens = [token for event in events for token in event.tokens]
    found: dict[str, tuple[str, ...]] = {}
    for channel in ("text", "reasoning", "refusal"):
        text = "".join(getattr(token, channel) for token in tokens)
        if text:
            found[channel] = (text,)
    opaque = tuple(delta.opaque.decode() for delta in deltas if delta.opaque)
    if opaque:
        found["opaque"] = opaque
    found |= calls(events)
    if error:
        found["error"] = (error.reason,)
    else:
        matched = (
            (json.dumps(termination.matched_stop, ensure_ascii=False),) if termination.matched_stop else ()
        )
        found["finish"] = (" ".join([termination.reason.value, termination.word, *matched]),)
    found |= usage(generation, deltas)
    counts = [str(token.count) for token in tokens if token.count]
    if counts and any(delta.count for delta in deltas):
        found["counts"] = (" ".join(counts),)
    return found | details(tokens)


def calls(events: Sequence[Event]) -> dict[str, tuple[str, ...]]:
    """Returns the tool calls, assembled by their index."""
    parts: dict[int, list[str]] = {}
    for fragment in (fragment for event in events for fragment in event.fragments):
        call = parts.setdefault(fragment.call_index, ["-", "", ""])
        if fragment.id or fragment.function_name:
            assert call == ["-", "", ""], "id and name are on a call's first fragment only"
            call[:2] = [fragment.id or "-", fragment.function_name or "-"]
        call[2] += fragment.arguments
    assert sorted(parts) == list(range(len(parts)))
    return {"call": tuple(" ".join(filter(None, parts[i])) for i in range(len(parts)))} if parts else {}


def usage(generation: Generation, deltas: Sequence[Delta]) -> dict[str, tuple[str, ...]]:
    """Returns the engine's own counts if it reported both input and output."""
    total = generation.usage
    told = UsageReport()
    for delta in deltas:
        told = told if delta.usage is None else newest(delta.usage, told)
    if total.source is not UsageSource.ENGINE and (total.input, total.output) != (told.input, told.output):
        return {}
    reasoning: int | str = total.reasoning
    if total.source is not UsageSource.ENGINE:
        reasoning = "counted"  # by the server, because the engine did not report it
    parts = {"cached": total.cached_input, "cache_write": total.cache_write_input, "reasoning": reasoning}
    line = f"{total.input} {total.output}"
    return {"usage": (" ".join([line, *(f"{name}={count}" for name, count in parts.items() if count)]),)}


def details(tokens: Sequence[Token]) -> dict[str, tuple[str, ...]]:
    """Returns what the request asked for besides text."""
    found = {
        "ids": [str(token.id) for token in tokens if token.id is not None],
        "logprobs": [str(token.logprob) for token in tokens if token.logprob is not None],
        "raw": [token.raw.hex() for token in tokens if token.raw is not None],
    }
    lines = {key: (" ".join(values),) for key, values in found.items() if values}
    tops = [token.top_logprobs for token in tokens if token.top_logprobs]
    if tops:
        lines["top"] = tuple(" ".join(f"{other.text}={other.logprob}" for other in top) for top in tops)
    return lines


def expected(sample: WireSample) -> dict[str, tuple[str, ...]]:
    """Returns the sample's expected output, with its JSON and quotes decoded."""
    lines = dict(sample.expected)
    for channel in ("text", "reasoning", "refusal"):
        if channel in lines:
            lines[channel] = (json.loads(lines[channel][0]),)
    if "top" in lines:
        lines["top"] = tuple(
            " ".join(entry.replace('"', "") for entry in shlex.split(line)) for line in lines["top"]
        )
    return lines


@pytest.mark.parametrize("sample", ALL, ids=str)
def test_what_a_caller_gets(sample: WireSample):
    """The caller receives exactly the output that the transcript states."""
    assert received(sample, decoded(sample, [sample.body])) == expected(sample)


@pytest.mark.parametrize("sample", ALL, ids=str)
def test_every_cut_gives_the_same_deltas(sample: WireSample):
    """Cut in two at every byte, and byte by byte."""
    body = sample.body
    uncut = comparable(decoded(sample, [body]))
    for at in range(1, len(body)):
        assert comparable(decoded(sample, [body[:at], body[at:]])) == uncut, at
    assert comparable(decoded(sample, [body[at : at + 1] for at in range(len(body))])) == uncut


@examples(2000)
@given(st.sampled_from(ALL), st.lists(st.integers(min_value=0), min_size=2, max_size=30))
def test_any_cuts_give_the_same_deltas(sample: WireSample, cuts: list[int]):
    """Cut into any number of pieces."""
    body = sample.body
    bounds = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    pieces = [body[begin:end] for begin, end in itertools.pairwise(bounds)]
    assert comparable(decoded(sample, pieces)) == comparable(decoded(sample, [body]))


def test_there_are_enough():
    """There are at least 200 samples. Each has a unique name and states how it ends."""
    assert len(ALL) >= 200
    assert len({str(sample) for sample in ALL}) == len(ALL)
    assert all(("finish" in t.expected) is not ("error" in t.expected) for t in ALL)
