"""The prompt of a command: read from the command line or from stdin."""

from __future__ import annotations

import sys

import typer

from tokengrpc.client import Conversation


def read_prompt(prompt: str | None) -> str:
    """Returns the text of PROMPT, or all of stdin for `-` and for no PROMPT if stdin is not a terminal.

    Raises BadParameter if the text is missing, empty or not UTF-8, or if stdin cannot be read.
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


def build_input(text: str, *, system: str | None, raw: bool) -> str | Conversation:
    """Returns a conversation with one user message or, if `raw`, the text as a prompt to continue.

    Raises BadParameter if `raw` is combined with `system`.
    """
    if raw and system:
        raise typer.BadParameter("needs a conversation: remove --raw", param_hint="--system")
    return text if raw else Conversation(system).user(text)
