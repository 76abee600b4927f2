"""Recognizes payloads of APIs other than the one that an engine's kind speaks: one table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tokengrpc.errors import EngineProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CHAT = "OpenAI's chat or completions API"
MESSAGES = "Anthropic's Messages API"

_MESSAGES_TYPES = frozenset(
    {
        *("message_start", "message_delta", "message_stop", "message"),
        *("content_block_start", "content_block_delta", "content_block_stop"),
    }
)
_COHERE_TYPES = frozenset({"message-start", "content-start", "content-delta", "content-end", "message-end"})


def _has(name: str, type_: type) -> Callable[[Mapping[str, Any]], bool]:
    return lambda payload: isinstance(payload.get(name), type_)


def _is_messages(payload: Mapping[str, Any]) -> bool:
    type_ = payload.get("type")
    return isinstance(type_, str) and type_ in _MESSAGES_TYPES


def _is_responses(payload: Mapping[str, Any]) -> bool:
    type_, kind = payload.get("type"), payload.get("object")
    return (isinstance(type_, str) and type_.startswith("response.")) or kind == "response"


def _is_ollama(payload: Mapping[str, Any]) -> bool:
    return isinstance(payload.get("done"), bool) and ("message" in payload or "response" in payload)


def _is_cohere(payload: Mapping[str, Any]) -> bool:
    type_ = payload.get("type")
    return "event_type" in payload or (isinstance(type_, str) and type_ in _COHERE_TYPES)


def _is_converse(payload: Mapping[str, Any]) -> bool:
    return not payload.keys().isdisjoint({"messageStart", "contentBlockDelta", "messageStop"})


# What gives each API away. The first row that matches counts.
_SIGNS: tuple[tuple[str, Callable[[Mapping[str, Any]], bool]], ...] = (
    (CHAT, lambda payload: isinstance(payload.get("choices"), list | dict)),
    (MESSAGES, _is_messages),
    ("OpenAI's Responses API", _is_responses),
    ("Ollama's own API", _is_ollama),
    ("Gemini's own API", _has("candidates", list)),
    ("TGI's own API", lambda payload: isinstance(payload.get("token"), dict) or "generated_text" in payload),
    ("llama.cpp's own API", lambda payload: isinstance(payload.get("content"), str) and "stop" in payload),
    ("SGLang's own API", _has("meta_info", dict)),
    ("Cohere's own API", _is_cohere),
    ("the Converse API of Bedrock", _is_converse),
)


def foreign_payload(engine: str, payload: object, *, own: str) -> EngineProtocolError | None:
    """Returns the error for a decoded payload that is of a known API other than `own`, or None.

    With an empty `own`, APIs are not told apart.
    """
    if not own or not isinstance(payload, dict):
        return None
    api = next((api for api, is_sign in _SIGNS if is_sign(payload)), own)
    if api == own:
        return None
    return EngineProtocolError(
        f"engine {engine} sent what looks like {api} instead of {own}; check its kind and base_url"
    )


def first_value(body: bytes) -> object:
    """Returns the first value of a body of JSON values, of which some servers send one in each line.

    Raises ValueError or RecursionError if it does not begin with one.
    """
    value, _ = json.JSONDecoder().raw_decode(body.decode("utf-8", "replace").lstrip())
    return value
