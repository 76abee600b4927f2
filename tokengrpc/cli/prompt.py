"""What a person wants answered: from the command line or from stdin."""

from __future__ import annotations

import sys

import typer

from tokengrpc.client import Conversation


def read_prompt(prompt: str | None) -> str:
    """The text of PROMPT; `-`, or none where stdin is no terminal, reads stdin to its end.

    Raises BadParameter for what is no text.
    """
    if prompt is None:
        data = b"" if sys.stdin.isatty() else _stdin()
        if not data:
            raise typer.BadParameter("is missing: give the text, or pipe it in", param_hint="PROMPT")
    else:
        data = _stdin() if prompt == "-" else prompt.encode(errors="surrogateescape")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise typer.BadParameter("is not UTF-8", param_hint="PROMPT") from None
    if not text.strip():
        raise typer.BadParameter("is empty", param_hint="PROMPT")
    return text


def _stdin() -> bytes:
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        raise typer.BadParameter(f"stdin cannot be read: {error.strerror}", param_hint="PROMPT") from None


def as_input(text: str, *, system: str | None, raw: bool) -> str | Conversation:
    """A conversation with one user message or, when asked for, a prompt to continue. Raises BadParameter."""
    if raw and system:
        raise typer.BadParameter("needs a conversation: leave out --raw", param_hint="--system")
    return text if raw else Conversation(system).user(text)
