"""`tokengrpc chat`: a talk of many turns."""

from __future__ import annotations

import asyncio
import re
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, TypedDict

from tokengrpc.cli import exits, options
from tokengrpc.cli.output import fail, remark
from tokengrpc.cli.session import Interrupted, NoServer, Server, told
from tokengrpc.cli.stream import Show, follow
from tokengrpc.client import Conversation, TokenStreamClient, TokenStreamError

if TYPE_CHECKING:
    from collections.abc import Iterator

HELP = "Ctrl-C stops an answer, /reset forgets the talk, /help shows this, /exit or Ctrl-D leaves."

# A path, such as /etc/hosts, is no command.
_COMMAND = re.compile(r"/\w*(\s|$)")


class _Sampling(TypedDict):
    model: str
    max_tokens: int | None
    temperature: float | None
    seed: int | None


def chat(
    *,
    target: str = options.TARGET,
    token_env: str = options.TOKEN_ENV,
    model: str = options.MODEL,
    system: str = options.SYSTEM,
    max_tokens: int = options.MAX_TOKENS,
    temperature: float = options.TEMPERATURE,
    seed: int = options.SEED,
    show_reasoning: bool = options.SHOW_REASONING,
) -> int:
    """Talk with a model: each line is a message, the answers stream.

    Ctrl-C stops an answer and keeps the talk; /reset forgets it; /exit or Ctrl-D leaves.
    """
    sampling = _Sampling(model=model or "", max_tokens=max_tokens, temperature=temperature, seed=seed)
    talk = Talk(Server(target, token_env), system, sampling, Show(reasoning=show_reasoning))
    try:
        return talk.run()
    except NoServer as error:
        fail(str(error))
        return exits.FAILURE
    except Interrupted as interrupted:
        return interrupted.exit_code


class Talk:
    """Turns of a person and a model. The loop of calls rests while the person types."""

    def __init__(self, server: Server, system: str | None, sampling: _Sampling, show: Show) -> None:
        self._server = server
        self._system = system
        self._sampling = sampling
        self._show = show
        self._conversation = Conversation(system)

    def run(self) -> int:
        """Talks until the person leaves; FAILURE when the input ends after an answer that failed."""
        code = exits.OK
        with asyncio.Runner() as runner:
            connected = AsyncExitStack()
            client = runner.run(connected.enter_async_context(self._server.connect()))
            try:
                for line in _lines():
                    if line in {"/exit", "/quit"}:
                        return exits.OK
                    if _COMMAND.match(line):
                        self._do(line)
                    elif line:
                        code = runner.run(self._turn(client, line))
            finally:
                runner.run(connected.aclose())
        return code

    def _do(self, command: str) -> None:
        """Obeys a command, or tells those there are."""
        if command == "/reset":
            self._conversation = Conversation(self._system)
            remark("The talk is forgotten.")
        else:
            unknown = "" if command == "/help" else f"There is no command {command}. "
            remark(unknown + HELP)

    async def _turn(self, client: TokenStreamClient, line: str) -> int:
        """One message and its answer. A message without any answer is taken back, so it can be repeated."""
        self._conversation.user(line)
        said = len(self._conversation.messages)
        code = exits.OK
        tokens = client.stream(self._conversation, **self._sampling)
        try:
            await follow(client, tokens, self._show)
        except Interrupted as interrupted:
            if interrupted.exit_code != exits.INTERRUPTED:
                raise
        except TokenStreamError as error:
            fail(told(error, self._server.target))
            code = exits.FAILURE
        self._conversation.add(tokens)
        if len(self._conversation.messages) == said:
            self._conversation.messages.pop()
        return code


def _lines() -> Iterator[str]:
    """What the person says, line by line; Ctrl-C at the prompt drops the line. No prompts for a pipe."""
    asked = sys.stdin.isatty()
    if asked:
        _load_line_editing()
        remark(HELP)
    while True:
        try:
            line = _ask("> " if asked else "").strip()
        except EOFError:
            if asked:
                remark("")
                yield "/exit"
            return
        except KeyboardInterrupt:
            remark(f"\n{HELP}")
            continue
        yield line


def _ask(prompt: str) -> str:
    """Reads a line. The prompt is for people: it never goes into a pipe with the answers."""
    if sys.stdout.isatty():
        return input(prompt)
    remark(prompt, end="")
    return input()


def _load_line_editing() -> None:
    """Gives `input` its history and editing keys, where Python has them."""
    try:
        import readline  # noqa: F401, PLC0415 - works by being imported
    except ImportError:
        return
