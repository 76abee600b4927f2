"""Output of the commands: the only module that writes to stdout and stderr."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from tokengrpc.escaping import escape_line, escape_text

if TYPE_CHECKING:
    from google.protobuf.message import Message


class OutputError(Exception):
    """Failed write to stdout, for example because a disk is full or a terminal was closed."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(f"cannot write to stdout: {cause.strerror or cause}")


class OutputClosed(OutputError):
    """Failed write to a pipe whose reader has closed it."""


def styles_disabled() -> bool:
    """Returns whether the user disabled colours and styles (no-color.org), or the terminal has none."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def write(text: str, *, end: str = "") -> None:
    """Writes to stdout and flushes it. Raises OutputClosed or another OutputError."""
    try:
        sys.stdout.write((_shown(text) if sys.stdout.isatty() else text) + end)
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise OutputClosed(error) from None
    except OSError as error:
        raise OutputError(error) from None


def write_note(text: str, *, end: str = "\n") -> None:
    """Writes text that is not part of the answer to stderr, dimmed on a terminal."""
    if sys.stderr.isatty():
        text = _shown(text)
        text = text if styles_disabled() else f"\x1b[2m{text}\x1b[0m"
    _write_to_stderr(text + end)


def write_error(message: str) -> None:
    """Writes an error to stderr as one line."""
    _write_to_stderr(f"error: {escape_line(' '.join(message.split()))}\n")


def write_json(message: Message) -> None:
    """Writes a message of the contract to stdout as one line of JSON, with the contract's field names."""
    # Imported here because the import takes 20 ms and most commands do not need it.
    from google.protobuf.json_format import MessageToJson  # noqa: PLC0415 - see above

    text = MessageToJson(message, preserving_proto_field_name=True, indent=None, ensure_ascii=False)
    write(text, end="\n")


def discard_stdout() -> None:
    """Redirects stdout to the null device, so that Python's flush at exit cannot fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _shown(text: str) -> str:
    """Returns text that cannot control a terminal, whatever a model or server sent. CRLF becomes LF."""
    return escape_text(text.replace("\r", ""))


def _write_to_stderr(text: str) -> None:
    """Writes to stderr. A failed write is ignored, because it must not change the answer or the exit code."""
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()
