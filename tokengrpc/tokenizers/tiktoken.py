"""Counts tokens with tiktoken. The package contains the vocabulary of o200k_base; nothing is downloaded."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import threading
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
from tokengrpc.tokenizers import packed_ranks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

END_OF_TEXT = 199_999

# The second one only has more special tokens, which this module never counts as such.
_PACKAGED = ("o200k_base", "o200k_harmony")
# As in tiktoken_ext.openai_public, whose own function would download the ranks.
_PACKAGED_PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# The source of tiktoken's other encodings, and their sha256. tiktoken downloads a file that is missing or
# differs, without a timeout, so both are checked before tiktoken is called.
_SOURCE = "https://openaipublic.blob.core.windows.net/encodings/"
_FILES = {
    "cl100k_base": ("cl100k_base", "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"),
    "p50k_base": ("p50k_base", "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069"),
    "p50k_edit": ("p50k_base", "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069"),
    "r50k_base": ("r50k_base", "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"),
}

# Longest text, in characters, whose count is cached, and the number of cached counts.
CACHED_LENGTH = 32
CACHED_COUNT = 65_536

# A run of a million white-space characters overflows the stack of tiktoken's regular expressions, which then
# panic; shorter runs do not. So the text is cut after every block of this size that is all white space, and
# no piece has a run of two blocks. No other input that panics is known.
WHITE_BLOCK = 64 * 1024

# OpenAI's published recipe ("How to count tokens with tiktoken", OpenAI Cookbook).
_PER_MESSAGE = 3
_PER_REPLY = 3
# OpenAI's charge for an image in low detail. Other models differ widely.
_PER_IMAGE = 85

# OpenAI's rule of thumb for English; used for texts that tiktoken cannot encode.
_BYTES_PER_TOKEN = 4


class TiktokenTokenizer:
    """A `Tokenizer` over a tiktoken encoding. It is thread-safe.

    Names of special tokens, such as `<|endoftext|>`, are ordinary text in a request and counted as such. The
    time is linear in the length of the text, 0.1 to 0.4 s for a million characters. Other threads run
    meanwhile. `encoding` is tiktoken's own object.
    """

    def __init__(self, name: str, encoding: tiktoken.Encoding, *, exact: bool) -> None:
        self._name = name
        self.encoding = encoding
        self._exact = exact
        self._counts: dict[str, int] = {}

    @property
    def name(self) -> str:
        """The encoding's name, such as `o200k_base`."""
        return self._name

    @property
    def exact(self) -> bool:
        """Whether this is the model's own tokenizer."""
        return self._exact

    def count(self, text: str) -> int:
        """Returns the number of tokens of a text.

        Counts of short texts are cached, because this runs once per token of a stream. If tiktoken fails, the
        count is one token per 4 bytes, rounded up.
        """
        try:
            return self._counts[text]
        except KeyError:
            pass
        try:
            count = len(self.encode(text))
        except ValueError:
            return -(-len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN)
        if len(text) <= CACHED_LENGTH:
            if len(self._counts) >= CACHED_COUNT:
                self._counts.clear()
            self._counts[text] = count
        return count

    def count_input(self, messages: Sequence[Message], tools: Sequence[Tool]) -> int:
        """Returns the number of tokens of a conversation and its tools.

        Each message counts 3 tokens and its role, and the beginning of the reply 3, as OpenAI publishes for
        its own models; other chat templates differ by a few tokens per message. Tools are counted as JSON
        text. An image counts 85 tokens, which is an estimate.
        """
        total = _PER_REPLY if messages else 0
        for message in messages:
            total += _PER_MESSAGE + self.count(message.role.value)
            total += sum(map(self._count_part, message.parts))
        return total + sum(self.count(_tool_text(tool)) for tool in tools)

    def encode(self, text: str) -> list[int]:
        """Returns the token ids of a text. Raises ValueError if tiktoken fails."""
        if len(text) <= WHITE_BLOCK:
            return self._encode(text)
        return [token for piece in pieces(text) for token in self._encode(piece)]

    def token_bytes(self, token: int) -> bytes:
        """Returns the bytes of a token. Raises KeyError for an id that is not in the vocabulary."""
        if token < 0:
            raise KeyError(token)
        return self.encoding.decode_single_token_bytes(token)

    def _encode(self, text: str) -> list[int]:
        try:
            return self.encoding.encode_ordinary(text)
        except BaseException as error:
            # A Rust panic is not an Exception, and pyo3 does not export its class.
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
    """Loads a tokenizer, once per process. The packaged ranks take about 0.4 s and 80 MB.

    `o200k_base` and `o200k_harmony` are packaged. Others must be in the folder TIKTOKEN_CACHE_DIR; nothing is
    downloaded. Raises ValueError, with a one-line message, if the name is unknown or the tokenizer cannot be
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
        raise ValueError(f"tokenizer {name!r} is unknown: use one of {known}")
    _check_cached(name)
    return tiktoken.get_encoding(name)


@functools.cache
def _packaged() -> tiktoken.Encoding:
    # A distinct name, so that tiktoken's registry does not confuse it with the encoding that it downloads.
    return tiktoken.Encoding(
        "tokengrpc_o200k_base",
        pat_str=_PACKAGED_PATTERN,
        mergeable_ranks=packed_ranks.ranks(),
        special_tokens={"<|endoftext|>": END_OF_TEXT, "<|endofprompt|>": 200_018},
    )


def pieces(text: str, block: int = WHITE_BLOCK) -> Iterator[str]:
    """Yields the text, cut after each block of white space. Each character is scanned once."""
    begin = 0
    for start in range(0, len(text), block):
        stop = start + block
        if text[start:stop].isspace():
            yield text[begin:stop]
            begin = stop
    if begin < len(text):
        yield text[begin:]


def _check_cached(name: str) -> None:
    file, sha256 = _FILES[name]
    url = f"{_SOURCE}{file}.tiktoken"
    # The variable and the file's name are tiktoken's own.
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", "")
    if not folder:
        raise ValueError(
            f"tokenizer {name!r} is not packaged: set TIKTOKEN_CACHE_DIR to a folder that contains it "
            f"(`TIKTOKEN_CACHE_DIR=FOLDER python -c \"import tiktoken; tiktoken.get_encoding('{name}')\"` "
            "downloads it), or use o200k_base"
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
        raise ValueError(f"tokenizer {name!r}: {path} is damaged: replace it with {url}")


def _tool_text(tool: Tool) -> str:
    name, description = json.dumps(tool.name), json.dumps(tool.description, ensure_ascii=False)
    return f'{{"name":{name},"description":{description},"parameters":{tool.parameters_json_schema or "{}"}}}'
