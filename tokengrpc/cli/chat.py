"""`tokengrpc chat`: a conversation of many turns."""

from __future__ import annotations

import asyncio
import re
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, TypedDict

from tokengrpc.cli import exits, options
from tokengrpc.cli.endpoint import Endpoint, with_endpoint
from tokengrpc.cli.output import note_width, write_error, write_note
from tokengrpc.cli.session import Interrupted, Server, ServerUnreachable, error_line
from tokengrpc.cli.stream import StreamPrinter, follow
from tokengrpc.client import Conversation, TokenStreamClient, TokenStreamError

if TYPE_CHECKING:
    from collections.abc import Iterator

HELP = (
    "Ctrl-C stops an answer, /reset clears the conversation, /usage shows the total usage, "
    "/help shows this help, /exit or Ctrl-D exits."
)

# Matches one word after the slash, so that a path such as /etc/hosts is not taken for a command.
_COMMAND = re.compile(r"/\w*(\s|$)")


class _Sampling(TypedDict):
    model: str
    max_tokens: int | None
    temperature: float | None
    seed: int | None


@with_endpoint
def chat(
    *,
    endpoint: Endpoint,
    model: str = options.MODEL,
    system: str = options.SYSTEM,
    max_tokens: int = options.MAX_TOKENS,
    temperature: float = options.TEMPERATURE,
    seed: int = options.SEED,
    patience: float = options.PATIENCE,
    show_reasoning: bool = options.SHOW_REASONING,
) -> int:
    """Chat with a model.

    Each line is a message, and the answers are streamed. Ctrl-C stops an answer and keeps the conversation;
    /reset clears it; /usage shows the total usage, as does the end of the chat; /exit or Ctrl-D exits.
    """
    sampling = _Sampling(model=model or "", max_tokens=max_tokens, temperature=temperature, seed=seed)
    printer = StreamPrinter(reasoning=show_reasoning)
    try:
        return ChatSession(Server(endpoint, patience), system, sampling, printer).run()
    except ServerUnreachable as error:
        write_error(str(error))
        return exits.FAILURE
    except Interrupted as interrupted:
        return interrupted.exit_code


class ChatSession:
    """Conversation between a user and a model. The event loop does not run while the user types."""

    def __init__(
        self, server: Server, system: str | None, sampling: _Sampling, printer: StreamPrinter
    ) -> None:
        self._server = server
        self._system = system
        self._sampling = sampling
        self._printer = printer
        self._conversation = Conversation(system)

    def run(self) -> int:
        """Chats until the user exits or the input ends, and returns the exit code.

        If the input ends after an answer that failed, the exit code is FAILURE.
        """
        code = exits.OK
        with asyncio.Runner() as runner:
            connection = AsyncExitStack()
            client = runner.run(connection.enter_async_context(self._server.connect()))
            try:
                for line in _read_lines():
                    if line in {"/exit", "/quit"}:
                        return exits.OK
                    if _COMMAND.match(line):
                        self._run_command(line)
                    elif line:
                        code = runner.run(self._turn(client, line))
            finally:
                runner.run(connection.aclose())
                if self._printer.total.count:
                    self._show_total()
        return code

    def _show_total(self) -> None:
        write_note(self._printer.total.text(note_width()))

    def _run_command(self, command: str) -> None:
        """Runs a chat command. For an unknown command, shows the help."""
        if command == "/reset":
            self._conversation = Conversation(self._system)
            write_note("The conversation is cleared.")
        elif command == "/usage":
            self._show_total()
        else:
            unknown = "" if command == "/help" else f"There is no command {command}. "
            write_note(unknown + HELP)

    async def _turn(self, client: TokenStreamClient, line: str) -> int:
        """Sends a message, shows its answer and returns the exit code.

        A message without any answer is removed from the conversation, so that the user can send it again.
        """
        self._conversation.user(line)
        message_count = len(self._conversation.messages)
        code = exits.OK
        tokens = client.stream(self._conversation, **self._sampling)
        try:
            await follow(client, tokens, self._printer)
        except Interrupted as interrupted:
            if interrupted.exit_code != exits.INTERRUPTED:
                raise
        except TokenStreamError as error:
            write_error(error_line(error, self._server.endpoint))
            code = exits.FAILURE
        self._conversation.add(tokens)
        if len(self._conversation.messages) == message_count:
            self._conversation.messages.pop()
        return code


def _read_lines() -> Iterator[str]:
    """Yields the user's lines. Ctrl-C at the prompt discards the line. A pipe gets no prompts."""
    interactive = sys.stdin.isatty()
    if interactive:
        _load_line_editing()
        write_note(HELP)
    while True:
        try:
            line = _read_line("> " if interactive else "").strip()
        except EOFError:
            if interactive:
                write_note("")
                yield "/exit"
            return
        except KeyboardInterrupt:
            write_note(f"\n{HELP}")
            continue
        yield line


def _read_line(prompt: str) -> str:
    """Reads a line. If stdout is a pipe, the prompt goes to stderr, so that the pipe has only the answers."""
    if sys.stdout.isatty():
        return input(prompt)
    write_note(prompt, end="")
    return input()


def _load_line_editing() -> None:
    """Enables history and editing keys for `input`, if Python has readline."""
    try:
        import readline  # noqa: F401, PLC0415 - the import alone enables it
    except ImportError:
        return
