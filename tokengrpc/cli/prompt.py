"""What a person wants answered: from the command line or from stdin."""

from __future__ import annotations

import sys

import typer

from tokengrpc.client import Conversation


def read_prompt(prompt: str) -> str:
    """The text of PROMPT; `-` reads stdin to its end. Raises BadParameter for what is no text."""
    data = sys.stdin.buffer.read() if prompt == "-" else prompt.encode(errors="surrogateescape")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise typer.BadParameter("is not UTF-8", param_hint="PROMPT") from None
    if not text.strip():
        raise typer.BadParameter("is empty", param_hint="PROMPT")
    return text


def as_input(text: str, *, system: str | None, chat: bool) -> str | Conversation:
    """A prompt to continue or, when asked for or instructed, a conversation with one user message."""
    return Conversation(system).user(text) if chat or system else text
