"""Error objects of servers, in the shapes in which servers and the proxies before them send them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tokengrpc.engines.upstream.errors.delays import delay_in
from tokengrpc.engines.upstream.errors.redaction import hiding
from tokengrpc.engines.upstream.errors.signs import (
    CODE,
    MESSAGE,
    OUTPUT,
    STATUS,
    is_success,
    normalized,
    says_failure,
    status_number,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# Engines may quote the prompt in an error message. Its caller may see an excerpt, logs may not.
_EXCERPT_CHARACTERS = 200

# Error objects contain each other: a proxy's contains the provider's, which is often JSON in a string.
_MAX_DEPTH = 6

# Where an error object may contain the error that caused it.
_INNER = ("error", "raw", "body", "cause", "innererror", "inner_error", "upstream_error", "original_error")
_INNER_HOLDERS = ("metadata", "details", "response", "provider_specific_fields")
_HIDE = hiding(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """An error object that an engine sent.

    `status` is the HTTP status that it contains, if any, and `retry_after` the delay in seconds. `words` is
    everything that says what happened, in lower case: codes, types and messages, also of proxies.
    `protocol_status` is the status that people are told, where the engine does not speak HTTP.
    """

    message: str = ""
    type: str = ""
    code: str = ""
    status: int | None = None
    retry_after: float | None = None
    outer: str = ""
    protocol_status: str = ""

    @property
    def excerpt(self) -> str:
        """The message on one line, truncated. If there is no message, the type or the code."""
        line = " ".join((self.message or self.type or self.code).split())
        return line if len(line) <= _EXCERPT_CHARACTERS else line[: _EXCERPT_CHARACTERS - 1] + "…"

    @property
    def words(self) -> str:
        """The code, type and message, and those of the errors around this one, in lower case."""
        return f"{self.code} {self.type} {self.message} {self.outer}".lower()


def read_complaint(payload: object, hide: Callable[[str], str] = _HIDE) -> Complaint | None:
    """Returns the error object in a decoded JSON payload, redacted by `hide`, or None if there is none.

    Recognizes `{"error": {…}}`, `{"error": "…"}` (Ollama, TGI), `{"object": "error", "message": …}` (older
    vLLM), `{"detail": …}` (FastAPI), `{"errors": […]}` (Cloudflare), a list of any of these (Gemini),
    `{"base_resp": {…}}` (MiniMax), and objects that say by a code, a status or `success` that something has
    failed. If the error contains the one that caused it, its words are that one's.
    """
    found = _find(payload, _MAX_DEPTH)
    if found is None:
        return None
    return replace(
        found,
        message=hide(found.message),
        type=hide(found.type),
        code=hide(found.code),
        outer=hide(found.outer),
    )


def _find(payload: object, depth: int) -> Complaint | None:
    """Returns the error in a payload that may have none."""
    if depth and isinstance(payload, list) and payload:
        return _find(payload[0], depth - 1)
    if not depth or not isinstance(payload, dict):
        return None
    base = payload.get("base_resp")
    if isinstance(base, dict) and base.get("status_code"):
        return Complaint(message=_text(base.get("status_msg")), code=_text(base["status_code"]))
    for name in ("error", "errors", "fault"):
        if payload.get(name) and not is_success(payload[name]):
            found = _from_any(payload[name], depth - 1)
            found = replace(found, type=found.type or _text(payload.get("error_type")))
            return _described(found, payload) if found.message == payload[name] else found
    is_error = payload.get("object") == "error" or payload.get("detail") or says_failure(normalized(payload))
    if is_error and not any(payload.get(name) for name in OUTPUT):
        return _from_object(payload, depth)
    return None


def _described(error: Complaint, payload: dict[str, Any]) -> Complaint:
    """Returns an error whose name is a string (OAuth, NestJS) with the words that stand beside it."""
    around = _from_object({key: value for key, value in payload.items() if key != "error"}, 0)
    if not around.message:
        return error
    return replace(
        around, code=around.code or error.message, type=error.type or around.type, outer=error.message
    )


def _from_any(error: object, depth: int) -> Complaint:
    """Returns the error that a value is, which may be an object, a list or text."""
    if isinstance(error, list) and error:
        error = error[0]
    if isinstance(error, dict):
        return _from_object(error, depth)
    text = _text(error)
    return _in_text(text, depth) or Complaint(message=text)


def _from_object(error: dict[str, Any], depth: int) -> Complaint:
    fields = normalized(error)
    message = _message(fields)
    code = next((fields[name] for name in CODE if fields.get(name) is not None), None)
    numbers = (status_number(fields.get(name)) for name in (*CODE, *STATUS))
    own = Complaint(
        message=message,
        type=_text(fields.get("type")) or _word(fields.get("status")),
        code=_text(code),
        status=next(filter(None, numbers), None),
        retry_after=delay_in(error, message),
    )
    inner = next(_inner(error, message, depth), None)
    if inner is None:
        return own
    return Complaint(
        message=inner.message or own.message,
        type=inner.type or own.type,
        code=inner.code or own.code,
        status=own.status or inner.status,
        retry_after=own.retry_after if inner.retry_after is None else inner.retry_after,
        outer=f"{own.code} {own.type} {own.message} {inner.outer}",
    )


def _inner(error: dict[str, Any], message: str, depth: int) -> Iterator[Complaint]:
    """Yields the errors that an error object contains."""
    if not depth:
        return
    holders = [error, *(error[name] for name in _INNER_HOLDERS if isinstance(error.get(name), dict))]
    for holder in holders:
        for name in _INNER:
            value = holder.get(name)
            if isinstance(value, dict | list):
                found = _find(value, depth - 1) or _object_with_words(value, depth - 1)
            else:
                text = _text(value)
                found = _in_text(text, depth - 1) or (Complaint(message=text) if text else None)
            if found is not None:
                yield found
    found = _in_text(message, depth - 1)
    if found is not None:
        yield found


def _object_with_words(value: object, depth: int) -> Complaint | None:
    if not isinstance(value, dict):
        return None
    found = _from_object(value, depth)
    return found if found.message or found.code else None


def _in_text(text: str, depth: int) -> Complaint | None:
    """Returns the error that a text is, or that follows a proxy's own words in it, written as JSON."""
    start = text.find("{")
    if start < 0 or depth <= 0:
        return None
    try:
        value, _ = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    found = _find(value, depth - 1)
    return replace(found, outer=f"{found.outer} {text[:start]}") if found and found.message else None


def _message(error: Mapping[str, Any]) -> str:
    """Returns the words of an error object. FastAPI's are a list of mistakes, each with its place.

    The object's names are normalized.
    """
    for name in MESSAGE:
        value = error.get(name)
        if isinstance(value, list):
            return "; ".join(_mistake(item) for item in value)
        if isinstance(value, dict):
            return _message(normalized(value)) or json.dumps(value)
        if value and isinstance(value, str):
            return value
    return ""


def _mistake(item: object) -> str:
    if not isinstance(item, dict) or "msg" not in item:
        return _text(item)
    place = item.get("loc")
    where = ".".join(map(str, place)) if isinstance(place, list) else ""
    return f"{where}: {item['msg']}" if where else _text(item["msg"])


def _word(value: object) -> str:
    """Returns a status that is a word, such as Google's RESOURCE_EXHAUSTED."""
    return value if isinstance(value, str) and not value.isdecimal() else ""


def _text(value: object) -> str:
    return "" if value is None else str(value)
