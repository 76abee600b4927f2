"""`tokengrpc stream`: one generation, shown as it comes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - typer reads annotations at run time
from typing import TYPE_CHECKING

import typer

from tokengrpc.cli import options
from tokengrpc.cli.output import remark, say, say_message
from tokengrpc.cli.prompt import as_input, read_prompt
from tokengrpc.cli.record import Recorder
from tokengrpc.cli.session import Interrupted, Server, interruptible, run
from tokengrpc.cli.summary import Summary
from tokengrpc.client import TokenStreamError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokenstreaming.v1.generation_pb2 import EngineSwitched
    from tokenstreaming.v1.token_stream_pb2 import StreamTokensResponse

    from tokengrpc.client import TokenStream, TokenStreamClient

_OUTCOME_TIMEOUT = 2.0


@dataclass(slots=True)
class Show:
    """How messages are shown. `begun`: there was one; `unfinished`: stdout's last line has no end yet."""

    json: bool = False
    reasoning: bool = False
    recorder: Recorder | None = None
    begun: bool = False
    unfinished: bool = False

    def message(self, message: StreamTokensResponse) -> None:
        """Shows one message."""
        self.begun = True
        if self.recorder is not None:
            self.recorder.message(message)
        if self.json:
            say_message(message)
            return
        if message.HasField("engine_switched"):
            self._switched(message.engine_switched)
        for token in message.tokens:
            if self.reasoning and token.reasoning_text:
                remark(token.reasoning_text, end="")
            if token.refusal_text:
                remark(token.refusal_text, end="")
            if token.text:
                say(token.text)
                self.unfinished = not token.text.endswith("\n")

    def _switched(self, switched: EngineSwitched) -> None:
        apart = "\n" if self.unfinished else ""  # on a terminal it would stand in the answer's line
        lost = f"engine {switched.from_engine} was lost ({switched.reason})"
        remark(f"{apart}{lost}, {switched.to_engine} goes on")

    def end(self, summary: Summary) -> None:
        """Ends the line of text and tells what it came to, unless nothing came at all."""
        if self.unfinished:
            say("\n")
        if self.begun:
            remark(str(summary))
        self.begun = self.unfinished = False


def stream(
    prompt: str = options.PROMPT,
    *,
    target: str = options.TARGET,
    token_env: str = options.TOKEN_ENV,
    model: str = options.MODEL,
    raw: bool = options.RAW,
    system: str = options.SYSTEM,
    max_tokens: int = options.MAX_TOKENS,
    temperature: float = options.TEMPERATURE,
    seed: int = options.SEED,
    stop: list[str] = options.STOP,
    switches: int = options.SWITCHES,
    timeout: float = options.TIMEOUT,
    partial: bool = typer.Option(False, "--partial", help="At --timeout, take what there is: no failure."),
    generation_id: str = typer.Option(None, "--id", metavar="ID", help="Name the generation yourself."),
    resume: str = typer.Option(None, "--resume", metavar="ID", help="Read this generation; start none."),
    after: int = typer.Option(0, "--after", metavar="N", min=0, help="With --resume: after this sequence."),
    json: bool = typer.Option(False, "--json", help="Print each message as a line of JSON."),
    record: Path = options.RECORD,
    record_prompt: bool = typer.Option(False, "--record-prompt", help="With --record: the prompt as well."),
    show_reasoning: bool = options.SHOW_REASONING,
) -> int:
    """Stream the answer to a prompt: text to stdout as it comes, a summary to stderr.

    Ctrl-C cancels the generation. A connection that breaks is resumed by itself.
    """
    if prompt is not None and resume is not None:
        raise typer.BadParameter("give either a prompt or --resume ID", param_hint="PROMPT")
    if after and resume is None:
        raise typer.BadParameter("only with --resume ID", param_hint="--after")
    if record_prompt and record is None:
        raise typer.BadParameter("only with --record FILE", param_hint="--record-prompt")
    options.check_timeout(timeout)

    def opened(client: TokenStreamClient) -> TokenStream:
        if resume is not None:
            return client.resume(resume, after, timeout=timeout)
        return client.stream(
            as_input(text, system=system, raw=raw),
            generation_id=generation_id,
            timeout=timeout,
            on_deadline="partial" if partial else "fail",
            model=model or "",
            max_tokens=max_tokens,
            temperature=temperature,
            seed=seed,
            stop=stop,
            max_engine_switch_count=switches,
        )

    text = read_prompt(prompt) if resume is None else ""
    server = Server(target, token_env)
    show = Show(json=json, reasoning=show_reasoning)
    if record is None:
        return run(_stream(server, opened, show), server)
    header = {"model": model or ""} | ({"prompt": text, "system": system or ""} if record_prompt else {})
    with Recorder(record, header) as show.recorder:
        return run(_stream(server, opened, show), server)


async def _stream(server: Server, opened: Callable[[TokenStreamClient], TokenStream], show: Show) -> int:
    async with server.connect() as client:
        try:
            await follow(client, opened(client), show)
        except TokenStreamError as error:
            if show.recorder is not None:
                show.recorder.failure(error)
            raise
    return 0


async def follow(client: TokenStreamClient, tokens: TokenStream, show: Show) -> None:
    """Shows a stream to its end, or to Ctrl-C, which stops its generation, and what it came to.

    Raises Interrupted or TokenStreamError after that.
    """
    summary = None
    try:
        async with tokens:
            await interruptible(_read(tokens, show))
    except Interrupted:
        # More may have been generated, and billed, than has arrived.
        with suppress(TokenStreamError):
            summary = Summary.of_generation(await client.get(tokens.generation_id, timeout=_OUTCOME_TIMEOUT))
        raise
    finally:
        show.end(summary or Summary.of_stream(tokens))


async def _read(tokens: TokenStream, show: Show) -> None:
    async for message in tokens.messages():
        show.message(message)
