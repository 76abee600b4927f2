"""Text for people: one place for what goes to stdout and to stderr."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.message import Message

# A model's or a server's text must not steer the terminal that shows it.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class OutputError(Exception):
    """Stdout does not take what is written: a full disk, a terminal that is gone."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(f"cannot write to stdout: {cause.strerror or cause}")


class NobodyReads(OutputError):
    """The other end of the pipe is closed."""


def plain() -> bool:
    """Whether people want no colours or styles (no-color.org), or their terminal has none."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def say(text: str, *, end: str = "") -> None:
    """Writes to stdout at once. Raises NobodyReads or another OutputError."""
    try:
        sys.stdout.write((_CONTROL.sub("", text) if sys.stdout.isatty() else text) + end)
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise NobodyReads(error) from None
    except OSError as error:
        raise OutputError(error) from None


def remark(text: str, *, end: str = "\n") -> None:
    """Writes to stderr what stands beside the answer; dim on a terminal."""
    if sys.stderr.isatty():
        text = _CONTROL.sub("", text)
        text = text if plain() else f"\x1b[2m{text}\x1b[0m"
    _write_to_stderr(text + end)


def fail(message: str) -> None:
    """Writes one line that says what went wrong."""
    _write_to_stderr(f"error: {_CONTROL.sub('', ' '.join(message.split()))}\n")


def say_message(message: Message) -> None:
    """Writes a message of the contract as one line of JSON, with the contract's own names."""
    # It takes 20 ms to import, and most commands do without.
    from google.protobuf.json_format import MessageToJson  # noqa: PLC0415 - see above

    text = MessageToJson(message, preserving_proto_field_name=True, indent=None, ensure_ascii=False)
    say(text, end="\n")


def drop_stdout() -> None:
    """Lets what Python would still flush at exit go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write_to_stderr(text: str) -> None:
    """A stderr that takes nothing changes neither the answer nor the exit code."""
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()
