"""Output of the commands: the only module that writes to stdout and stderr."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from tokengrpc.escaping import escape_line, escape_text

if TYPE_CHECKING:
    from typing import TextIO

    from google.protobuf.message import Message

    from tokengrpc.cli.wrapping import Wrapper

# The widest line of a note in a pipe or a file.
_NOTE_WIDTH = 80


class OutputError(Exception):
    """Failed write to stdout, for example because a disk is full or a terminal was closed."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(f"cannot write to stdout: {cause.strerror or cause}")


class OutputClosed(OutputError):
    """Failed write to a pipe whose reader has closed it."""


def styles_disabled() -> bool:
    """Returns whether the user disabled colours and styles (no-color.org), or the terminal has none."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def wraps() -> bool:
    """Returns whether streamed text is wrapped: stdout is a terminal that can erase text."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def terminal_width(stream: TextIO | None = None) -> int | None:
    """Returns the columns of the terminal behind a stream, by default stdout; None if it is no terminal."""
    return shutil.get_terminal_size().columns if (stream or sys.stdout).isatty() else None


def note_width() -> int:
    """Returns the columns that a line of a note may have."""
    return terminal_width(sys.stderr) or _NOTE_WIDTH


def write(text: str, *, end: str = "", wrapper: Wrapper | None = None) -> None:
    """Writes to stdout and flushes it. Raises OutputClosed or another OutputError."""
    try:
        sys.stdout.write(_shown(text, sys.stdout, wrapper) + end)
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise OutputClosed(error) from None
    except OSError as error:
        raise OutputError(error) from None


def write_note(text: str, *, end: str = "\n", wrapper: Wrapper | None = None) -> None:
    """Writes text that is not part of the answer to stderr. On a terminal, it is dimmed and wrapped.

    `wrapper` is for text that continues a line.
    """
    if sys.stderr.isatty():
        text = _shown(text, sys.stderr, wrapper or _new_wrapper())
        text = text if styles_disabled() else f"\x1b[2m{text}\x1b[0m"
    _write_to_stderr(text + end)


def write_error(message: str) -> None:
    """Writes an error to stderr as one line, which is wrapped on a terminal."""
    line = f"error: {escape_line(' '.join(message.split()))}"
    _write_to_stderr(f"{_shown(line, sys.stderr, _new_wrapper()) if sys.stderr.isatty() else line}\n")


def write_json(message: Message) -> None:
    """Writes a message of the contract to stdout as one line of JSON, with the contract's field names."""
    # Imported here because the import takes 20 ms and most commands do not need it.
    from google.protobuf.json_format import MessageToJson  # noqa: PLC0415 - see above

    text = MessageToJson(message, preserving_proto_field_name=True, indent=None, ensure_ascii=False)
    write(text, end="\n")


def discard_stdout() -> None:
    """Redirects stdout to the null device, so that Python's flush at exit cannot fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _shown(text: str, stream: TextIO, wrapper: Wrapper | None) -> str:
    """Returns text that cannot control a terminal, whatever a model or server sent. CRLF becomes LF.

    On a terminal, `wrapper` wraps it. Text for anything else is returned as it is.
    """
    width = terminal_width(stream)
    if width is None:
        return text
    text = escape_text(text.replace("\r", ""))
    return wrapper.wrap(text, width) if wrapper is not None else text


def _new_wrapper() -> Wrapper:
    # Imported here because the import takes 20 ms, and only terminals need it.
    from tokengrpc.cli.wrapping import Wrapper  # noqa: PLC0415 - see above

    return Wrapper()


def _write_to_stderr(text: str) -> None:
    """Writes to stderr. A failed write is ignored, because it must not change the answer or the exit code."""
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()
