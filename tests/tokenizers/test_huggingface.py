"""The bytes of tokens against the package's own decoder, for the two families of tokenizers."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from tests.support.model_files import byte_level_tokenizer
from tests.support.profiles import examples
from tokengrpc.core.text import IncrementalDecoder
from tokengrpc.tokenizers.huggingface import Vocabulary

TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40)


@cache
def byte_level() -> tuple[Tokenizer, Vocabulary]:
    tokenizer = byte_level_tokenizer()
    return tokenizer, Vocabulary(tokenizer.to_str().encode())


@cache
def sentence_pieces() -> tuple[Tokenizer, Vocabulary]:
    """As Llama 2 and Gemma have it: `▁` for a space, and byte tokens for what the vocabulary lacks."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdefgh", "▁a", "bc"]
    merges = [("▁", "a"), ("b", "c")]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    model = models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return tokenizer, Vocabulary(tokenizer.to_str().encode())


FAMILIES = pytest.mark.parametrize("family", [byte_level, sentence_pieces])


@FAMILIES
@given(text=TEXTS)
@examples(300)
def test_bytes_of_tokens_join_to_the_text(family: Any, text: str) -> None:
    """Decoding token by token, in whole characters, gives what the package decodes from all ids at once."""
    tokenizer, vocabulary = family()
    ids = vocabulary.encode(text, add_special_tokens=False)
    characters = IncrementalDecoder()
    decoded = "".join([characters.push(vocabulary.token_bytes(number)) for number in ids])
    assert decoded + characters.flush() == tokenizer.decode(ids)


def test_special_tokens_have_a_name_and_no_bytes() -> None:
    """An end mark adds no text to the answer, but logprobs can show it."""
    tokenizer, vocabulary = byte_level()
    end = tokenizer.token_to_id("<|end|>")
    assert vocabulary.token_bytes(end) == b""
    assert vocabulary.token_text(end) == "<|end|>"
    tool = tokenizer.token_to_id("<tool call>")
    assert vocabulary.token_bytes(tool) == b"<tool call>"


def test_ids_outside_the_vocabulary_have_no_bytes() -> None:
    """Models pad their vocabulary: an id beyond it is output without text, not a failure."""
    tokenizer, vocabulary = byte_level()
    beyond = tokenizer.get_vocab_size(with_added_tokens=True) + 5
    assert vocabulary.token_bytes(beyond) == b""
    assert vocabulary.token_text(beyond) == ""


def test_special_tokens_are_added_on_request() -> None:
    """A prompt begins as the model expects; a rendered chat template has these tokens already."""
    tokenizer = byte_level_tokenizer()
    start = tokenizer.token_to_id("<|start|>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|start|> $A", special_tokens=[("<|start|>", start)]
    )
    vocabulary = Vocabulary(tokenizer.to_str().encode())
    without = vocabulary.encode("hello", add_special_tokens=False)
    assert vocabulary.encode("hello", add_special_tokens=True) == [start, *without]


def test_truncation_and_padding_are_switched_off() -> None:
    """Files from training may cut and pad texts; inputs of a generation are sent whole."""
    tokenizer = byte_level_tokenizer()
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=64)
    vocabulary = Vocabulary(tokenizer.to_str().encode())
    ids = vocabulary.encode("a b c d e f", add_special_tokens=False)
    assert b"".join(map(vocabulary.token_bytes, ids)) == b"a b c d e f"


@pytest.mark.parametrize(
    ("decoder", "problem"),
    [
        (None, "no supported decoder"),
        ({"type": "WordPiece", "prefix": "##", "cleanup": True}, "decoder WordPiece is not supported"),
        ({"type": "BPEDecoder", "suffix": "</w>"}, "decoder BPEDecoder is not supported"),
    ],
)
def test_decoders_that_join_tokens_are_refused(decoder: object, problem: str) -> None:
    """A tokenizer whose tokens have no text of their own is refused when it is loaded."""
    layout = json.loads(byte_level_tokenizer().to_str())
    layout["decoder"] = decoder
    with pytest.raises(ValueError, match=problem):
        Vocabulary(json.dumps(layout).encode())


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff\xfe", b"[1]"])
def test_other_files_are_refused(data: bytes) -> None:
    """Anything but a tokenizer.json is one ValueError."""
    with pytest.raises(ValueError, match=r"it is not a valid tokenizer\.json"):
        Vocabulary(data)


def test_a_metaspace_decoder_writes_spaces() -> None:
    """The older form of SentencePiece's decoder."""
    pieces = {"▁a": 0, "b": 1, "▁": 2}
    tokenizer = Tokenizer(models.BPE(vocab=pieces, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_tokens([AddedToken("<end>", special=True)])
    vocabulary = Vocabulary(tokenizer.to_str().encode())
    assert [vocabulary.token_bytes(number) for number in range(3)] == [b" a", b"b", b" "]
