"""The tokenizer: its counts, its vocabulary, and its errors when it cannot be loaded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokengrpc.core.request import (
    ImagePart,
    Message,
    ReasoningPart,
    Role,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
)
from tokengrpc.tokenizers import tiktoken as module
from tokengrpc.tokenizers.tiktoken import END_OF_TEXT, TiktokenTokenizer, load, pieces


@pytest.fixture(scope="module")
def tokenizer():
    return load("o200k_base", exact=True)


def message(*parts):
    return Message(role=Role.USER, parts=parts)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("hello world", [24912, 2375]),
        # The example of OpenAI's Cookbook, "How to count tokens with tiktoken".
        ("tiktoken is great!", [83, 8251, 2488, 382, 2212, 0]),
        ("", []),
    ],
)
def test_known_ids(tokenizer, text, ids):
    """The packaged vocabulary gives the ids that OpenAI's tokenizer gives."""
    assert tokenizer.encode(text) == ids


@given(text=st.text(max_size=60))
def test_bytes_of_the_tokens_are_the_text(text):
    """The joined bytes of the tokens equal the text."""
    tokenizer = load("o200k_base", exact=True)
    assert b"".join(map(tokenizer.token_bytes, tokenizer.encode(text))) == text.encode()


@given(text=st.text(max_size=60))
def test_count_is_the_same_every_time(text):
    """A cached count equals the first one."""
    tokenizer = load("o200k_base", exact=True)
    assert tokenizer.count(text) == tokenizer.count(text) == len(tokenizer.encode(text))


def test_names_of_special_tokens_are_ordinary_text(tokenizer):
    """The name of a special token in a text is not encoded as that token."""
    assert END_OF_TEXT not in tokenizer.encode("<|endoftext|>")
    assert tokenizer.count("<|endoftext|>") > 1


def test_cached_counts_are_bounded(monkeypatch):
    """Only counts of short texts are cached, and only as many as the bound allows."""
    encoded: list[str] = []
    encode = TiktokenTokenizer.encode
    monkeypatch.setattr(
        TiktokenTokenizer, "encode", lambda self, text: encoded.append(text) or encode(self, text)
    )
    monkeypatch.setattr(module, "CACHED_COUNT", 10)
    packaged = load("o200k_base", exact=True).encoding
    tokenizer = TiktokenTokenizer("o200k_base", packaged, exact=True)

    def encodings(text: str) -> int:
        before = len(encoded)
        tokenizer.count(text)
        return len(encoded) - before

    assert [encodings("long " * 100) for _ in range(2)] == [1, 1]
    assert [encodings("0") for _ in range(2)] == [1, 0]
    for number in range(1, 10):
        assert tokenizer.count(str(number)) == 1
    assert encodings("0") == 0
    assert encodings("10") == 1
    assert encodings("0") == 1, "more texts are cached than the bound allows"


def test_a_million_blanks_are_counted(tokenizer):
    """White space that would overflow tiktoken's stack as a single piece is counted."""
    assert 0 < tokenizer.count(" " * 1_200_000) < 20_000


@pytest.mark.parametrize(
    "text",
    [
        (" " * 249_999 + "x") * 4,
        (" " * 20_000 + "x") * 50,
        ("\n" * 65_537 + "\t" * 70_000) * 8,
        "x" + "\N{NO-BREAK SPACE}" * 1_000_000,
    ],
    ids=["nearly too long", "many", "mixed", "no-break"],
)
@pytest.mark.timeout(20)
def test_long_runs_of_white_space_take_linear_time(tokenizer, text):
    """Runs of any length are encoded in linear time, and no byte is lost."""
    assert b"".join(map(tokenizer.token_bytes, tokenizer.encode(text))) == text.encode()


@given(text=st.text(alphabet=" \nx", min_size=0, max_size=80))
def test_pieces_are_the_text_without_long_runs(text):
    """The joined pieces equal the text, and none has a run of white space as long as two blocks."""
    cut = list(pieces(text, 4))
    assert "".join(cut) == text
    assert not any(re.search(r"\s{8}", piece) for piece in cut)


def test_a_panic_of_tiktoken(tokenizer, monkeypatch, capfd):
    """A panic becomes a ValueError and the count an estimate, so that no BaseException escapes."""
    monkeypatch.setattr(module, "WHITE_BLOCK", 10_000_000)
    text = " " * 1_200_001
    with pytest.raises(ValueError, match="panicked"):
        tokenizer.encode(text)
    assert tokenizer.count(text) == 300_001
    assert "StackOverflow" in capfd.readouterr().err


@pytest.mark.parametrize("token", [-1, 199_998, 10**9])
def test_ids_outside_the_vocabulary(tokenizer, token):
    """An id outside the vocabulary raises KeyError."""
    with pytest.raises(KeyError):
        tokenizer.token_bytes(token)


def test_lone_surrogates_are_counted(tokenizer):
    """Text that cannot be encoded as UTF-8 is counted nevertheless."""
    assert tokenizer.count("\ud83d") >= 1


@pytest.mark.parametrize(
    ("part", "count"),
    [
        (TextPart(text="hello world"), 2),
        (ToolCallPart(id="1", function_name="hello", arguments=" world"), 2),
        (ToolResultPart(tool_call_id="1", text="hello world", is_error=False), 2),
        (ReasoningPart(text="hello world", opaque=b"signature"), 2),
        (ImagePart(uri="https://example.org/image.png"), 85),
    ],
)
def test_parts_of_a_message(tokenizer, part, count):
    """A message counts 3 tokens, its role 1, its parts their content, and the reply 3."""
    assert tokenizer.count_input([message(part)], ()) == 3 + 1 + count + 3


def test_tools_are_counted(tokenizer):
    """Each tool adds the tokens of its JSON text."""
    messages = [message(TextPart(text="hi"))]
    schema = '{"type":"object","properties":{"city":{"type":"string"}}}'
    tool = Tool(name="weather", description="Tells the weather.", parameters_json_schema=schema)
    added = tokenizer.count_input(messages, (tool,)) - tokenizer.count_input(messages, ())
    assert added > tokenizer.count(schema)


def test_loads_once():
    """The same name returns the same tokenizer. Exact and inexact tokenizers share the ranks."""
    exact, close = load("o200k_base", exact=True), load("o200k_base", exact=False)
    assert exact is load("o200k_base", exact=True)
    assert (exact.exact, close.exact) == (True, False)
    assert (exact.name, close.name) == ("o200k_base", "o200k_base")
    assert exact.encoding is close.encoding


def test_the_encoding_has_a_name_of_its_own():
    """Tiktoken's registry cannot confuse the packaged encoding with its own."""
    assert load("o200k_base", exact=True).encoding.name == "tokengrpc_o200k_base"


def one_line(error: ValueError) -> str:
    assert "\n" not in str(error)
    return str(error)


def test_unknown_name():
    """The error for an unknown tokenizer lists the known ones."""
    with pytest.raises(ValueError, match="is unknown") as caught:
        load("nonsense", exact=True)
    assert "o200k_base" in one_line(caught.value)


def test_not_packaged_and_no_folder(monkeypatch):
    """Without a folder of encodings, the error says how to create one. Nothing is downloaded."""
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    with pytest.raises(ValueError, match="TIKTOKEN_CACHE_DIR") as caught:
        load("cl100k_base", exact=True)
    one_line(caught.value)


def test_not_in_the_folder(monkeypatch, tmp_path):
    """The error for a missing file names it and its source."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    with pytest.raises(ValueError, match="cannot be read") as caught:
        load("cl100k_base", exact=True)
    assert "cl100k_base.tiktoken" in one_line(caught.value)


def test_damaged_in_the_folder(monkeypatch, tmp_path):
    """A file with other contents raises an error; tiktoken alone would delete and download it."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    with pytest.raises(ValueError, match="cannot be read") as missing:
        load("cl100k_base", exact=True)
    (path,) = re.findall(r" as (\S+),", str(missing.value))
    file = Path(path)
    assert file.parent == tmp_path
    file.write_bytes(b"IQ== 0\n")
    with pytest.raises(ValueError, match="is damaged") as caught:
        load("cl100k_base", exact=True)
    one_line(caught.value)
    assert file.exists()
