"""The id that a server gave its response: read once, bounded, and never more than an id."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.openai_payloads import DONE, STOP, finished, text
from tokengrpc.core.request import OutputOptions
from tokengrpc.engines.anthropic.events import EventDecoder
from tokengrpc.engines.openai.chunks.decoder import ChunkDecoder
from tokengrpc.engines.upstream.errors.redaction import hiding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.core.model import Delta

SECRET = "sk-abcdefghijklmnop"


def named(id_: Any, payload: bytes) -> bytes:
    """Returns a payload with an id, written as a server may write it: with lone surrogates."""
    return json.dumps({"id": id_} | json.loads(payload)).encode()


def ids(deltas: Sequence[Delta]) -> list[str]:
    return [delta.response_id for delta in deltas if delta.response_id]


def models(deltas: Sequence[Delta]) -> list[str]:
    return [delta.response_model for delta in deltas if delta.response_model]


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("chatcmpl-1", "chatcmpl-1"),
        (" gen-1\n", "gen-1"),
        (17, "17"),
        ("x" * 100_000, "x" * 128),
        ("a\x1b[2Jb\nc\u202e", "a\\x1b[2Jb\\nc\\u202e"),
        ("\x00" * 128, "\\x00" * 32),
        ("a\ud800", "a\ufffd"),
        (f"id-{SECRET}", ""),
        ("", ""),
        (None, ""),
        (True, ""),
        (10**30, ""),
        ({"id": "chatcmpl-1"}, ""),
        (["chatcmpl-1"], ""),
    ],
)
def test_an_id_is_bounded_text_or_nothing(sent: object, read: str) -> None:
    """In chunks and messages alike. Output is not affected, nor is its count."""
    expected = [read] if read else []
    chunks = ChunkDecoder("test", OutputOptions(), hiding(SECRET))
    deltas = chunks.feed([named(sent, text("a")), named(sent, text("b")), named(sent, STOP), DONE])
    assert ids(deltas) == expected
    assert "".join(delta.text or "" for delta in deltas) == "ab"
    messages = EventDecoder("test", hiding(SECRET))
    start = {"type": "message_start", "message": {"id": sent, "type": "message", "content": []}}
    found = messages.feed([json.dumps(start).encode()])
    assert ids(found) == expected
    assert all(delta.count == 0 for delta in found)


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("gpt-5.2-2026-01-01", "gpt-5.2-2026-01-01"),
        ("x" * 1000, "x" * 128),
        (SECRET, ""),
        ("", ""),
        (None, ""),
    ],
)
@pytest.mark.parametrize("has_id", [True, False])
def test_the_name_of_the_model_is_read_with_the_id(sent: object, read: str, has_id: bool) -> None:
    """Once, and as bounded as the id; also if there is no id."""
    expected = [read] if read else []
    id_ = {"id": "chatcmpl-1"} if has_id else {}
    chunks = ChunkDecoder("test", OutputOptions(), hiding(SECRET))
    payloads = [
        json.dumps(id_ | {"model": sent} | json.loads(chunk)).encode()
        for chunk in (text("a"), text("b"), STOP)
    ]
    deltas = chunks.feed([*payloads, DONE])
    assert models(deltas) == expected
    assert ids(deltas) == (["chatcmpl-1"] if has_id else [])
    messages = EventDecoder("test", hiding(SECRET))
    message = id_ | {"model": sent, "type": "message", "content": []}
    found = messages.feed([json.dumps({"type": "message_start", "message": message}).encode()])
    assert models(found) == expected
    assert all(delta.count == 0 for delta in found)


def test_the_first_chunk_with_an_id_counts() -> None:
    """Azure's first chunk has an empty one. Later ids are not read, those of plain text never."""
    first = b'{"id":"","choices":[],"prompt_filter_results":[{"prompt_index":0}]}'
    chunks = [named("one", text("a")), named("two", text("b")), named("three", STOP)]
    assert ids(finished(first, *chunks, DONE)) == ["one"]
    assert ids(finished(text("a"), named("two", text("b")), named("three", STOP), DONE)) == ["three"]


def test_an_id_is_looked_for_in_a_few_chunks_only() -> None:
    """A server that has none in many chunks will have none."""
    empty = b'{"choices":[{"index":0,"delta":{"role":"assistant"}}]}'
    assert ids(finished(*[empty] * 20, named("late", text("a")), STOP, DONE)) == []


@pytest.mark.parametrize(
    "payload",
    [
        {"type": "message", "content": [{"type": "text", "text": "a"}], "stop_reason": "end_turn"},
        {"type": "completion", "completion": "a", "stop_reason": "stop_sequence"},
    ],
    ids=["whole", "completion"],
)
def test_other_forms_of_messages_have_ids(payload: dict[str, Any]) -> None:
    """The whole message, and the events of the older API."""
    decoder = EventDecoder("test")
    assert ids(decoder.feed([json.dumps(payload | {"id": "msg_1"}).encode()])) == ["msg_1"]


def test_a_whole_response_has_its_id() -> None:
    """Of a server that does not stream."""
    choice = {"message": {"content": "Hello"}, "finish_reason": "stop"}
    assert ids(finished(json.dumps({"id": "chatcmpl-1", "choices": [choice]}).encode())) == ["chatcmpl-1"]
