"""Counts tokens with tiktoken. The vocabulary of o200k_base is part of the package: nothing is downloaded."""

from __future__ import annotations

import binascii
import functools
import gzip
import hashlib
import json
import os
import threading
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import tiktoken

from tokengrpc.core.request import (
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

END_OF_TEXT = 199_999

# The second one has more special tokens, which are never counted as such here, and is the same otherwise.
_PACKAGED = ("o200k_base", "o200k_harmony")
_PACKAGED_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
# As in tiktoken_ext.openai_public, whose own function would download the ranks.
_PACKAGED_PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# Where tiktoken gets its other encodings, and their sha256. It fetches a file that is missing or differs,
# with no timeout, so both are looked at before it is asked.
_SOURCE = "https://openaipublic.blob.core.windows.net/encodings/"
_FILES = {
    "cl100k_base": ("cl100k_base", "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"),
    "p50k_base": ("p50k_base", "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069"),
    "p50k_edit": ("p50k_base", "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069"),
    "r50k_base": ("r50k_base", "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"),
}

_CACHED_LENGTH = 32
_CACHED_COUNT = 65_536

# A run of a million white-space characters overflows the stack of tiktoken's regular expressions, which
# panics; shorter ones pass. So every block of the text that is nothing else ends a piece: no piece has a run
# of two blocks. Nothing else was found that panics.
_WHITE_BLOCK = 64 * 1024

# OpenAI's published recipe ("How to count tokens with tiktoken", OpenAI Cookbook).
_PER_MESSAGE = 3
_PER_REPLY = 3
# What OpenAI bills for an image in low detail. Other models differ widely.
_PER_IMAGE = 85

# OpenAI's rule of thumb for English, for texts that cannot be encoded.
_BYTES_PER_TOKEN = 4


class TiktokenTokenizer:
    """A `Tokenizer` over a tiktoken encoding. Safe to use from several threads.

    Marks such as `<|endoftext|>` are counted as the ordinary text that they are in a request. Time grows with
    the text, 0.1 to 0.4 s for a million characters, while other threads run.
    """

    def __init__(self, name: str, encoding: tiktoken.Encoding, *, exact: bool) -> None:
        self._name = name
        self._encoding = encoding
        self._exact = exact
        self._counts: dict[str, int] = {}

    @property
    def name(self) -> str:
        """Such as `o200k_base`."""
        return self._name

    @property
    def exact(self) -> bool:
        """Whether it is the model's own."""
        return self._exact

    def count(self, text: str) -> int:
        """Tokens of a text. Short texts are remembered: this runs once per token of a stream.

        A text that tiktoken fails at is taken for a token per 4 bytes, rounded up.
        """
        try:
            return self._counts[text]
        except KeyError:
            pass
        try:
            count = len(self.encode(text))
        except ValueError:
            return -(-len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN)
        if len(text) <= _CACHED_LENGTH:
            if len(self._counts) >= _CACHED_COUNT:
                self._counts.clear()
            self._counts[text] = count
        return count

    def count_input(self, messages: Sequence[Message], tools: Sequence[Tool]) -> int:
        """Tokens of a conversation and its tools.

        Each message costs 3 and its role, and the reply's beginning costs 3, as OpenAI publishes for its own
        models; other chat templates differ by a few tokens a message. Tools are counted as JSON text. An
        image is taken for 85 tokens, which is an estimate.
        """
        total = _PER_REPLY if messages else 0
        for message in messages:
            total += _PER_MESSAGE + self.count(message.role.value)
            total += sum(map(self._count_part, message.parts))
        return total + sum(self.count(_tool_text(tool)) for tool in tools)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text. Raises ValueError where tiktoken fails at it."""
        if len(text) <= _WHITE_BLOCK:
            return self._encode(text)
        return [token for piece in _pieces(text) for token in self._encode(piece)]

    def token_bytes(self, token: int) -> bytes:
        """Bytes of a token; raises KeyError for an id that is not in the vocabulary."""
        if token < 0:
            raise KeyError(token)
        return self._encoding.decode_single_token_bytes(token)

    def _encode(self, text: str) -> list[int]:
        try:
            return self._encoding.encode_ordinary(text)
        except BaseException as error:
            # A panic in Rust is no Exception, and pyo3 lets nobody import its class.
            if type(error).__name__ != "PanicException":
                raise
            raise ValueError(f"tiktoken panicked at a text of {len(text)} characters") from error

    def _count_part(self, part: Part) -> int:
        match part:
            case ImagePart():
                return _PER_IMAGE
            case ToolCallPart():
                return self.count(part.function_name) + self.count(part.arguments)
            case TextPart() | ReasoningPart() | ToolResultPart():
                return self.count(part.text)


def load(name: str, exact: bool) -> TiktokenTokenizer:
    """Loads a tokenizer, once per process; the packaged ranks take about 0.4 s and 80 MB.

    `o200k_base` and `o200k_harmony` are packaged. Others must lie in the folder TIKTOKEN_CACHE_DIR: nothing
    is downloaded. Raises ValueError, one line for people, when there is none of that name or it cannot be
    loaded.
    """
    with _loading:
        return _tokenizer(name, exact)


_loading = threading.Lock()


@functools.cache
def _tokenizer(name: str, exact: bool) -> TiktokenTokenizer:
    return TiktokenTokenizer(name, _encoding(name), exact=exact)


@functools.cache
def _encoding(name: str) -> tiktoken.Encoding:
    if name in _PACKAGED:
        return _packaged()
    if name not in _FILES:
        known = ", ".join(sorted([*_PACKAGED, *_FILES]))
        raise ValueError(f"tokenizer {name!r} is not known: use one of {known}")
    _check_cached(name)
    return tiktoken.get_encoding(name)


@functools.cache
def _packaged() -> tiktoken.Encoding:
    packed = resources.files("tokengrpc.tokenizers").joinpath("data", "o200k_base.tiktoken.gz").read_bytes()
    data = gzip.decompress(packed)
    if hashlib.sha256(data).hexdigest() != _PACKAGED_SHA256:
        raise ValueError("the packaged ranks of o200k_base are damaged: install tokengrpc again")
    ranks = {}
    for line in data.splitlines():
        token, _, rank = line.partition(b" ")
        ranks[binascii.a2b_base64(token)] = int(rank)
    # A name of its own: tiktoken's registry must not take it for the one it downloads.
    return tiktoken.Encoding(
        "tokengrpc_o200k_base",
        pat_str=_PACKAGED_PATTERN,
        mergeable_ranks=ranks,
        special_tokens={"<|endoftext|>": END_OF_TEXT, "<|endofprompt|>": 200_018},
    )


def _pieces(text: str) -> Iterator[str]:
    """The text, cut after each block of white space; each character is looked at once."""
    begin = 0
    for at in range(0, len(text), _WHITE_BLOCK):
        stop = at + _WHITE_BLOCK
        if text[at:stop].isspace():
            yield text[begin:stop]
            begin = stop
    if begin < len(text):
        yield text[begin:]


def _check_cached(name: str) -> None:
    file, sha256 = _FILES[name]
    url = f"{_SOURCE}{file}.tiktoken"
    # The variable is tiktoken's own, and so is the file's name.
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", "")
    if not folder:
        raise ValueError(
            f"tokenizer {name!r} is not packaged: set TIKTOKEN_CACHE_DIR to a folder that holds it "
            f"(`TIKTOKEN_CACHE_DIR=FOLDER python -c \"import tiktoken; tiktoken.get_encoding('{name}')\"` "
            "fills one), or use o200k_base"
        )
    path = Path(folder) / hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"tokenizer {name!r} cannot be read from TIKTOKEN_CACHE_DIR ({error.strerror}): "
            f"save {url} as {path}, or use o200k_base"
        ) from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"tokenizer {name!r}: {path} is damaged: save {url} there again")


def _tool_text(tool: Tool) -> str:
    name, description = json.dumps(tool.name), json.dumps(tool.description, ensure_ascii=False)
    return f'{{"name":{name},"description":{description},"parameters":{tool.parameters_json_schema or "{}"}}}'
