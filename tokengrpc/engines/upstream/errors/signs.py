"""What shows that a JSON object is an error although it has no field for one: names and values of fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# The names of fields, in lower case and without underscores: servers write them in every way.
_ERROR_MESSAGE = ("errormsg", "errmsg", "errormessage", "errordescription", "faultstring", "exception")
MESSAGE = ("message", "detail", "msg", *_ERROR_MESSAGE, "statusmsg", "reason", "title")
CODE = ("code", "errorcode", "errcode", "retcode")
STATUS = ("status", "statuscode")  # not TGI's http_status_code, which is always 422

_SUCCESS_WORDS = frozenset({"", "0", "200", "ok", "success", "none", "null"})
_FAILURE_WORDS = frozenset({"error", "err", "fail", "failed", "failure", "exception"})

# What only an answer has. Beside it, nothing but `error` is one.
OUTPUT = ("choices", "content", "completion", "candidates", "output")


def says_failure(fields: Mapping[str, Any]) -> bool:
    """Returns whether an object without an error field is one all the same. `fields` are normalized."""
    if _word_of(fields.get("success")) == "false" or _word_of(fields.get("status")) in _FAILURE_WORDS:
        return True
    code = next((fields[name] for name in CODE if fields.get(name) is not None), None)
    if _word_of(code) in _SUCCESS_WORDS and code is not None:
        return False
    if any(fields.get(name) for name in _ERROR_MESSAGE):
        return True
    has_code = code is not None or any(status_number(fields.get(name)) for name in STATUS)
    # A `message` that is an object is an answer, of another API.
    message = None if isinstance(fields.get("message"), dict) else fields.get("message")
    has_words = bool(message) or any(fields.get(name) for name in MESSAGE if name != "message")
    return has_words and (has_code or isinstance(message, str))


def _word_of(value: object) -> str:
    return str(value).strip().lower()


def normalized(fields: dict[str, Any]) -> Mapping[str, Any]:
    """Returns the fields by their names in lower case and without underscores."""
    return {str(name).lower().replace("_", ""): value for name, value in fields.items()}


def is_success(error: object) -> bool:
    """Returns whether an error object says that there is no error, which some proxies send in each chunk."""
    if not isinstance(error, dict):
        return False
    words = {_word_of(value) for value in error.values() if value}
    return words <= _SUCCESS_WORDS


def status_number(value: object) -> int | None:
    """Returns an HTTP status of an error."""
    if isinstance(value, str) and value.isdecimal() and len(value) == 3:
        value = int(value)
    is_status = isinstance(value, int) and not isinstance(value, bool) and 400 <= value <= 599
    return value if is_status and isinstance(value, int) else None
