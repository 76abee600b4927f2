"""Messages of vLLM's service, decoded into deltas."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smg_vllm import vllm_engine_pb2 as pb

from tests.support.model_files import byte_level_tokenizer
from tests.support.profiles import examples
from tests.support.scripted_vllm import id_of, ids_of
from tests.support.vllm_steps import logprobs
from tokengrpc.core.model import Delta, FinishReason, TopLogprob, UsageReport
from tokengrpc.core.stop_matcher import StopMatcher
from tokengrpc.core.stopping_text import StoppingText
from tokengrpc.engines.upstream.response.finish_reasons import ABORT_REASONS, FINISH_REASONS
from tokengrpc.engines.vllm.output import OutputDecoder
from tokengrpc.errors import EngineAborted, EngineProtocolError, EngineTruncated
from tokengrpc.tokenizers.huggingface import Vocabulary


@cache
def vocabulary() -> Vocabulary:
    return Vocabulary(byte_level_tokenizer().to_str().encode())


def decoder(**more: Any) -> OutputDecoder:
    return OutputDecoder("v", vocabulary(), **{"prompt_ids": None, **more})


def chunk(ids: list[int], **more: Any) -> bytes:
    told = pb.GenerateStreamChunk(token_ids=ids, **{"prompt_tokens": 7, "cached_tokens": 3, **more})
    return pb.GenerateResponse(chunk=told).SerializeToString()


def complete(reason: str = "stop", **more: Any) -> bytes:
    told = pb.GenerateComplete(finish_reason=reason, **{"prompt_tokens": 7, "cached_tokens": 3, **more})
    return pb.GenerateResponse(complete=told).SerializeToString()


def content(deltas: list[Delta]) -> bytes:
    return b"".join(delta.raw or b"" for delta in deltas)


def test_each_token_is_a_delta() -> None:
    """A chunk may have several tokens, as with speculative decoding."""
    ids = ids_of("Hello world 🦜")
    deltas = decoder().feed(chunk(ids))
    assert deltas[0] == Delta(count=0, usage=UsageReport(input=7, cached_input=3))
    assert [delta.id for delta in deltas[1:]] == ids
    assert all(delta.count == 1 for delta in deltas[1:])
    assert content(deltas).decode() == "Hello world 🦜"


def test_the_last_message_repeats_tokens() -> None:
    """The ids of `complete` are those of the last chunk: they are not output once more."""
    decoding = decoder()
    first = decoding.feed(chunk(ids_of("Hello")))
    last = decoding.feed(complete(output_ids=ids_of("Hello"), completion_tokens=1))
    assert content(first + last) == b"Hello"
    (finish,) = last
    assert finish.count == 0
    assert finish.usage == UsageReport(input=7, output=len(ids_of("Hello")), cached_input=3)
    assert decoding.ended
    assert decoding.engine_ended


def test_an_answer_in_one_message() -> None:
    """A server that does not stream sends `complete` alone, with all tokens."""
    deltas = decoder().feed(complete("length", output_ids=ids_of("Hello")))
    assert content(deltas) == b"Hello"
    assert deltas[-1].finish is not None
    assert deltas[-1].finish.reason is FinishReason.MAX_TOKENS


def test_the_end_mark_is_a_token_without_text() -> None:
    """VLLM counts it and returns its id."""
    deltas = decoder().feed(chunk([*ids_of("Hello"), id_of("<|end|>")]))
    assert (deltas[-1].count, deltas[-1].raw, deltas[-1].id) == (1, b"", id_of("<|end|>"))


def test_prompt_ids_are_reported_once() -> None:
    """They let another engine continue from the ids."""
    decoding = decoder(prompt_ids=(4, 5))
    deltas = decoding.feed(chunk(ids_of("a"))) + decoding.feed(chunk(ids_of("b")))
    assert [delta.prompt_ids for delta in deltas if delta.prompt_ids is not None] == [(4, 5)]


def test_other_answers_and_new_kinds_of_messages_are_skipped() -> None:
    """One answer was asked for; a message of a later version may have neither kind."""
    decoding = decoder()
    assert decoding.feed(chunk(ids_of("no"), index=1)) == []
    assert decoding.feed(complete(index=1)) == []
    assert decoding.feed(b"") == []
    assert not decoding.ended


@pytest.mark.parametrize("reason", sorted(FINISH_REASONS))
def test_finish_reasons_are_those_of_the_shared_table(reason: str) -> None:
    """The same words as over HTTP have the same meaning."""
    finish = decoder().feed(complete(reason))[-1].finish
    assert finish is not None
    assert (finish.reason, finish.word) == (FINISH_REASONS[reason], reason)


@pytest.mark.parametrize("reason", sorted(ABORT_REASONS))
def test_an_abort_is_a_failure(reason: str) -> None:
    """An answer that the engine gave up is never taken for a whole one."""
    decoding = decoder()
    decoding.feed(chunk(ids_of("Hello")))
    assert decoding.feed(complete(reason)) == []
    assert isinstance(decoding.error, EngineAborted)
    assert decoding.engine_ended


def test_an_end_without_complete_is_a_failure() -> None:
    """A stream that ends with OK may have been cut all the same."""
    decoding = decoder()
    decoding.feed(chunk(ids_of("Hello")))
    decoding.end()
    assert isinstance(decoding.error, EngineTruncated)


@pytest.mark.parametrize("word", ["", "none"])
def test_an_end_without_a_reason_is_a_failure(word: str) -> None:
    """A word that says nothing is no reason to take the answer for whole."""
    decoding = decoder()
    decoding.feed(complete(word))
    assert isinstance(decoding.error, EngineTruncated)


def test_a_garbled_message_is_a_failure() -> None:
    """Bytes that are no message mean that the server is another one."""
    decoding = decoder()
    assert decoding.feed(b"\xff\xff\xff") == []
    assert isinstance(decoding.error, EngineProtocolError)
    assert not decoding.engine_ended


def test_logprobs_and_alternatives() -> None:
    """Alternatives are told with text, id and bytes, the likeliest first, and no more than asked for."""
    h, i, end = ids_of("h")[0], ids_of("i")[0], id_of("<|end|>")
    told = logprobs([h, i], [-0.5, -2.0], [(h, -0.5), (i, -1.5)], [(i, -2.0), (end, -0.25)])
    deltas = decoder(top_count=2).feed(chunk([h, i], output_logprobs=told))[1:]
    assert [delta.logprob for delta in deltas] == [-0.5, -2.0]
    assert deltas[0].top_logprobs == (TopLogprob("h", -0.5, h, b"h"), TopLogprob("i", -1.5, i, b"i"))
    assert deltas[1].top_logprobs == (TopLogprob("<|end|>", -0.25, end, b""), TopLogprob("i", -2.0, i, b"i"))
    (one,) = decoder(top_count=1).feed(chunk([h], output_logprobs=told))[1:]
    assert len(one.top_logprobs) == 1


def test_a_token_without_a_logprob() -> None:
    """VLLM leaves out what it does not know: the other logprobs stay with their tokens."""
    h, i = ids_of("h")[0], ids_of("i")[0]
    deltas = decoder().feed(chunk([h, i], output_logprobs=logprobs([i], [-2.0])))[1:]
    assert [delta.logprob for delta in deltas] == [None, -2.0]


@pytest.mark.parametrize("sent", [[], [-0.5]], ids=["none", "one too few"])
def test_fewer_logprobs_than_ids(sent: list[float]) -> None:
    """Tokens whose log probability was not sent are delivered without one."""
    h, i = ids_of("h")[0], ids_of("i")[0]
    told = logprobs([h, i], sent, [(h, -0.5)])
    deltas = decoder(top_count=1).feed(chunk([h, i], output_logprobs=told))[1:]
    assert b"".join(delta.raw or b"" for delta in deltas) == b"hi"
    assert [delta.logprob for delta in deltas] == [*sent, None, None][:2]


def test_text_ends_before_the_stop_sequence() -> None:
    """Tokens after the stop sequence in the same chunk are counted and have no text."""
    decoding = decoder(stopping=StoppingText((" world",), (), ""))
    deltas = decoding.feed(chunk(ids_of("Hello world and on")))
    assert "".join(delta.text or "" for delta in deltas) == "Hello"
    assert deltas[-1].usage is not None
    assert deltas[-1].usage.output == len(ids_of("Hello world and on"))
    assert deltas[-1].finish is not None
    assert deltas[-1].finish.matched_stop == " world"
    assert decoding.ended
    assert not decoding.engine_ended


@given(
    text=st.text(st.sampled_from("ab 🦜é"), max_size=12),
    stops=st.lists(st.text(st.sampled_from("ab 🦜"), min_size=1, max_size=3), max_size=2),
    cuts=st.lists(st.integers(0, 30), max_size=3),
)
@examples(300)
def test_chunks_do_not_change_the_text(text: str, stops: list[str], cuts: list[int]) -> None:
    """However the tokens are cut into chunks, the text ends before the first stop sequence."""
    ids = ids_of(text)
    matcher = StopMatcher(stops)
    expected, stop = matcher.push(text)
    if stop is None:
        rest, stop = matcher.flush()
        expected += rest
    decoding = decoder(stopping=StoppingText(tuple(stops), (), "") if stops else None)
    deltas: list[Delta] = []
    borders = sorted({0, len(ids), *(cut for cut in cuts if cut < len(ids))})
    for start, end in itertools.pairwise(borders):
        if not decoding.ended:
            deltas += decoding.feed(chunk(ids[start:end]))
    if not decoding.ended:
        deltas += decoding.feed(complete(output_ids=ids[-1:]))
    told = content(deltas).decode() if not stops else "".join(delta.text or "" for delta in deltas)
    assert told == expected
    assert deltas[-1].finish is not None
    assert deltas[-1].finish.matched_stop == (stop or "")


def test_a_stop_token_is_a_regular_end() -> None:
    """`matched_token_id` names a token of `stop_token_ids`, no text."""
    finish = decoder().feed(complete("stop", matched_token_id=5))[-1].finish
    assert finish is not None
    assert (finish.reason, finish.matched_stop) == (FinishReason.END, "")


def test_an_empty_chunk_says_nothing() -> None:
    """VLLM may send one without tokens and counts."""
    assert decoder().feed(chunk([], prompt_tokens=0, cached_tokens=0)) == []
