"""Tracebacks for logs, without what an exception may repeat of a request.

The frames say where it happened. The message of an arbitrary exception may have a prompt in it, as that of
`int("…")` has, or a secret: only messages that Python itself writes without values are shown, and those of
tokengrpc's own errors.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from tokengrpc.config.values import ConfigError
from tokengrpc.errors import TokenGrpcError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from structlog.typing import ExcInfo

_WITHOUT_VALUES = frozenset(
    {
        *(AttributeError, ImportError, IndexError, ModuleNotFoundError, NameError, NotImplementedError),
        *(RecursionError, TypeError, UnboundLocalError, ZeroDivisionError),
    }
)
"""Exceptions, without derived ones, whose messages have names and types in them, but no values."""

HIDDEN = "(message not logged: it may repeat a request)"
_CAUSED = "\nThe above exception was the direct cause of the following one:\n\n"
_CONTEXT = "\nWhile it was handled, another exception occurred:\n\n"
_MAX_CHAIN = 10


def format_traceback(stream: TextIO, exc_info: ExcInfo) -> None:
    """Writes the traceback of an exception, after those of the exceptions that led to it."""
    for error, link in reversed(list(_chain(exc_info[1]))):
        stream.write("Traceback (most recent call last):\n")
        stream.write("".join(traceback.format_tb(error.__traceback__)))
        stream.write(f"{describe(error)}\n{link}")


def describe(error: BaseException) -> str:
    """Returns the type of an exception, and its message if it has no values in it."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(error, TokenGrpcError):
        return f"{name}: {error.log_text}"
    if isinstance(error, OSError) and error.strerror:
        return f"{name}: [Errno {error.errno}] {error.strerror}"
    if kind in _WITHOUT_VALUES or isinstance(error, ConfigError):
        return f"{name}: {error}"
    inner = getattr(error, "exceptions", None)  # of an exception group
    if inner:
        return "; ".join([f"{name}: of {len(inner)}", *map(describe, inner)])
    return f"{name}: {HIDDEN}" if str(error) else name


def _chain(error: BaseException | None) -> Iterator[tuple[BaseException, str]]:
    """Yields an exception and those that led to it, latest first, each with how it led to the one before."""
    link = ""
    seen: set[int] = set()
    while error is not None and id(error) not in seen and len(seen) < _MAX_CHAIN:
        seen.add(id(error))
        yield error, link
        if error.__cause__ is not None:
            error, link = error.__cause__, _CAUSED
        else:
            error = None if error.__suppress_context__ else error.__context__
            link = _CONTEXT
