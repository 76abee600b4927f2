"""Decoder for chunks whose JSON does not have the usual types.

A field that the caller did not ask for, and that is no output, is ignored if its type is wrong. Output and
the finish reason are never ignored: if they cannot be read, the chunk is malformed.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import msgspec

from tokengrpc.engines.openai.chunks.places import finish_word, restore_places
from tokengrpc.engines.openai.schema import Chunk, LogprobEntry, Logprobs, Natural
from tokengrpc.engines.upstream.response.counts import readable_counts
from tokengrpc.engines.upstream.response.wrong_types import drop_unless

_Ids = list[Natural] | None

# A single call has one of these; calls by their numbers have none.
_CALL_KEYS = frozenset({"function", "id", "name", "arguments", "custom"})


class Asked(NamedTuple):
    """The details that a request asks for. Of these, nothing is ignored."""

    infos: bool
    top_logprobs: bool
    raw: bool
    ids: bool


def decode_leniently(payload: bytes, asked: Asked) -> Chunk:
    """Decodes a payload. Raises ValueError if it is not a chunk.

    Besides wrong types, servers send lone surrogates, NaN, and counts such as 5.0 or "5".
    """
    try:
        # Given bytes, json.loads would also accept UTF-16 and UTF-32, and surrogates encoded as UTF-8.
        chunk = json.loads(payload.decode())
        if isinstance(chunk, dict):
            _clean_chunk(chunk, asked)
        return msgspec.convert(chunk, Chunk, strict=False)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def _clean_chunk(chunk: dict[str, Any], asked: Asked) -> None:
    restore_places(chunk)
    _drop_nothing(chunk, "choices", "prompt_token_ids")
    extra = chunk.get("x_groq")
    if isinstance(extra, dict):
        _clean_counts(extra, "usage")
    else:
        chunk.pop("x_groq", None)
    _clean_counts(chunk, "usage", "timings")
    if not asked.ids:
        drop_unless(_Ids, chunk, "prompt_token_ids")
    choices = chunk.get("choices")
    if isinstance(choices, list):
        chunk["choices"] = [choice for choice in choices if choice is not None]
        for choice in chunk["choices"]:
            if isinstance(choice, dict):
                _clean_choice(choice, asked)


def _clean_choice(choice: dict[str, Any], asked: Asked) -> None:
    _clean_counts(choice, "usage")
    _drop_nothing(choice, "delta", "message", "text", "logprobs")
    logprobs = choice.get("logprobs")
    if not asked.infos:
        drop_unless(Logprobs, choice, "logprobs")
    elif isinstance(logprobs, dict):
        for entry in (*_objects(logprobs.get("content")), *_objects(logprobs.get("refusal"))):
            _clean_entry(entry, asked)
    if not asked.ids:
        drop_unless(_Ids, choice, "token_ids")
        drop_unless(_Ids, choice, "prompt_token_ids")
    choice["finish_reason"] = finish_word(choice.get("finish_reason"))
    for key in ("delta", "message"):
        body = choice.get(key)
        if isinstance(body, dict):
            _clean_body(body)


def _clean_entry(entry: dict[str, Any], asked: Asked) -> None:
    """Cleans the parts of a token's logprobs that were not asked for."""
    if not asked.raw:
        drop_unless(list[int] | None, entry, "bytes")
    if not asked.ids:
        drop_unless(Natural | None, entry, "id")
    if not asked.top_logprobs:
        drop_unless(list[LogprobEntry] | None, entry, "top_logprobs")


def _objects(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _clean_body(body: dict[str, Any]) -> None:
    _drop_nothing(body, "content", "tool_calls", "function_call")
    if isinstance(body.get("function_call"), dict):
        _clean_function(body["function_call"])
    calls = body.get("tool_calls")
    if isinstance(calls, dict):
        # A single call instead of a list, or calls by their numbers.
        calls = [calls] if calls.keys() & _CALL_KEYS else list(calls.values())
    if isinstance(calls, list):
        body["tool_calls"] = calls = [call for call in calls if call is not None]
        for call in calls:
            if isinstance(call, dict):
                _clean_call(call)


def _clean_call(call: dict[str, Any]) -> None:
    _drop_nothing(call, "id", "function")
    drop_unless(int | None, call, "index")
    if isinstance(call.get("id"), int | float):
        call["id"] = str(call["id"])  # a number instead of text
    drop_unless(str | None, call, "id")
    if isinstance(call.get("function"), dict):
        _clean_function(call["function"])


def _clean_function(function: dict[str, Any]) -> None:
    _drop_nothing(function, "name")
    arguments = function.get("arguments")
    if arguments is False:
        del function["arguments"]
    elif arguments == []:
        function["arguments"] = {}
    elif isinstance(arguments, list | int | float):
        function["arguments"] = json.dumps(arguments, ensure_ascii=False)


def _clean_counts(fields: dict[str, Any], *keys: str) -> None:
    """Removes what is no count from a usage object, so that one bad part does not cost the others."""
    for key in keys:
        if key in fields:
            fields[key] = readable_counts(fields[key])


def _drop_nothing(fields: dict[str, Any], *keys: str) -> None:
    """Removes fields that hold nothing. PHP, for example, writes an empty object as an empty list."""
    for key in keys:
        value = fields.get(key)
        if value is False or (isinstance(value, list | dict | str) and not value):
            fields.pop(key, None)
