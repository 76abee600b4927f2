"""Text for people: one place for what goes to stdout and to stderr."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.message import Message

# A model's or a server's text must not steer the terminal that shows it.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def say(text: str, *, end: str = "") -> None:
    """Writes to stdout at once. Raises BrokenPipeError when nobody reads any more."""
    sys.stdout.write((_CONTROL.sub("", text) if sys.stdout.isatty() else text) + end)
    sys.stdout.flush()


def remark(text: str, *, end: str = "\n") -> None:
    """Writes to stderr what stands beside the answer; dim on a terminal."""
    if sys.stderr.isatty():
        text = f"\x1b[2m{_CONTROL.sub('', text)}\x1b[0m"
    sys.stderr.write(text + end)
    sys.stderr.flush()


def fail(message: str) -> None:
    """Writes one line that says what went wrong."""
    sys.stderr.write(f"error: {_CONTROL.sub('', ' '.join(message.split()))}\n")
    sys.stderr.flush()


def say_message(message: Message) -> None:
    """Writes a message of the contract as one line of JSON, with the contract's own names."""
    # It takes 20 ms to import, and most commands do without.
    from google.protobuf.json_format import MessageToJson  # noqa: PLC0415 - see above

    text = MessageToJson(message, preserving_proto_field_name=True, indent=None, ensure_ascii=False)
    say(text, end="\n")
