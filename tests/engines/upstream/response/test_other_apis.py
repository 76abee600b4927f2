"""Events of other APIs: the error says which API they belong to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.openai_payloads import DONE, STOP, decode, text
from tokengrpc.engines.anthropic.events import EventDecoder
from tokengrpc.errors import EngineProtocolError, EngineTruncated

FOREIGN: list[tuple[str, list[dict[str, Any]]]] = [
    (
        "Ollama",
        [
            {"model": "m", "message": {"role": "assistant", "content": "a secret"}, "done": False},
            {"model": "m", "message": {"content": ""}, "done": True, "done_reason": "stop", "eval_count": 2},
        ],
    ),
    ("Ollama", [{"model": "m", "response": "a secret", "done": False}]),
    (
        "llama.cpp",
        [{"content": "a secret", "stop": False}, {"content": "", "stop": True, "stop_type": "eos"}],
    ),
    ("TGI", [{"token": {"id": 1, "text": "a secret", "special": False}, "generated_text": None}]),
    ("TGI", [{"generated_text": "a secret", "details": {"finish_reason": "eos_token"}}]),
    ("SGLang", [{"text": "a secret", "meta_info": {"id": "x"}}]),
    (
        "Responses",
        [{"type": "response.created", "response": {}}, {"type": "response.output_text.delta", "delta": "s"}],
    ),
    ("Responses", [{"object": "response", "output": [{"type": "message"}]}]),
    (
        "Anthropic",
        [
            {"type": "message_start", "message": {"usage": {"input_tokens": 3}}},
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "a secret"}},
            {"type": "message_stop"},
        ],
    ),
    ("Anthropic", [{"type": "message", "content": [{"type": "text", "text": "a secret"}]}]),
    ("Gemini", [{"candidates": [{"content": {"parts": [{"text": "a secret"}]}}]}]),
    ("Cohere", [{"type": "content-delta", "index": 0, "delta": {}}]),
    ("Converse", [{"contentBlockDelta": {"delta": {"text": "a secret"}}}]),
]


@pytest.mark.parametrize(("api", "events"), FOREIGN, ids=str)
def test_events(api: str, events: list[dict[str, Any]]) -> None:
    """The first event is an error that names its API, says what to check, and quotes nothing."""
    payloads = [json.dumps(event).encode() for event in events]
    for body in (payloads, [*payloads, DONE], [b"\n".join(payloads)], [b'{"type":"ping"}', *payloads]):
        deltas, error = decode(*body)
        assert deltas == []
        assert isinstance(error, EngineProtocolError)
        assert api in error.message
        assert "check its kind and base_url" in error.message
        assert "secret" not in error.message


@pytest.mark.parametrize(("_", "events"), FOREIGN, ids=str)
def test_after_output(_: str, events: list[dict[str, Any]]) -> None:
    """Events that a proxy adds to output of this API do no harm."""
    payloads = [json.dumps(event).encode() for event in events]
    assert decode(text("a"), *payloads, STOP)[1] is None
    assert decode(text("a"), STOP, *payloads)[1] is None


@pytest.mark.parametrize(
    "event", [{"type": "ping"}, {"object": "keepalive"}, {"done": True}, {"status": "ok"}, {}]
)
def test_unknown_events(event: dict[str, Any]) -> None:
    """Events that belong to no API are ignored."""
    payload = json.dumps(event).encode()
    assert decode(payload, text("a"), STOP)[1] is None
    assert isinstance(decode(payload, DONE)[1], EngineTruncated)


def test_chat_completions_for_an_anthropic_engine() -> None:
    """The Messages API is told apart from OpenAI's as well."""
    decoder = EventDecoder("test")
    decoder.feed([text("a"), STOP, DONE])
    assert isinstance(decoder.error, EngineProtocolError)
    assert "OpenAI's chat or completions" in decoder.error.message
