"""`tokengrpc stream`: shows one generation while it runs."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - typer reads annotations at run time
from typing import TYPE_CHECKING

import typer

from tokengrpc.cli import options
from tokengrpc.cli.output import write, write_json, write_note
from tokengrpc.cli.prompt import build_input, read_prompt
from tokengrpc.cli.record import Recorder
from tokengrpc.cli.session import Interrupted, Server, interruptible, run
from tokengrpc.cli.summary import Summary
from tokengrpc.client import TokenStreamError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokenstreaming.v1.generation_pb2 import EngineSwitched
    from tokenstreaming.v1.token_stream_pb2 import StreamTokensResponse

    from tokengrpc.client import TokenStream, TokenStreamClient

# Seconds to wait for the final usage of a generation that Ctrl-C cancelled.
_SUMMARY_TIMEOUT = 2.0


@dataclass(slots=True)
class StreamPrinter:
    """Prints the messages of a stream: text to stdout, everything else to stderr.

    `begun`: a message has arrived. `line_open`: the last line on stdout has no line break yet.
    """

    json: bool = False
    reasoning: bool = False
    recorder: Recorder | None = None
    begun: bool = False
    line_open: bool = False

    def print_message(self, message: StreamTokensResponse) -> None:
        """Prints one message, and records it if there is a recorder."""
        self.begun = True
        if self.recorder is not None:
            self.recorder.record_message(message)
        if self.json:
            write_json(message)
            return
        if message.HasField("engine_switched"):
            self._print_switch(message.engine_switched)
        for token in message.tokens:
            if self.reasoning and token.reasoning_text:
                write_note(token.reasoning_text, end="")
            if token.refusal_text:
                write_note(token.refusal_text, end="")
            if token.text:
                write(token.text)
                self.line_open = not token.text.endswith("\n")

    def _print_switch(self, switched: EngineSwitched) -> None:
        # On a terminal, the note would otherwise follow the answer on the same line.
        line_break = "\n" if self.line_open else ""
        failure = f"engine {switched.from_engine} failed ({switched.reason})"
        write_note(f"{line_break}{failure}, engine {switched.to_engine} continues the answer")

    def finish(self, summary: Summary) -> None:
        """Ends the line on stdout and prints the summary, unless no message has arrived."""
        if self.line_open:
            write("\n")
        if self.begun:
            write_note(str(summary))
        self.begun = self.line_open = False


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
    partial: bool = typer.Option(
        False, "--partial", help="When --timeout expires, keep the partial answer and exit with 0."
    ),
    generation_id: str = typer.Option(
        None, "--id", metavar="ID", help="The id of the new generation; without it, a random one."
    ),
    resume: str = typer.Option(
        None, "--resume", metavar="ID", help="Read this generation instead of starting one."
    ),
    after: int = typer.Option(
        0, "--after", metavar="N", min=0, help="With --resume: show only the events after this sequence."
    ),
    json: bool = typer.Option(False, "--json", help="Print each message as a line of JSON."),
    record: Path = options.RECORD,
    record_prompt: bool = typer.Option(
        False, "--record-prompt", help="With --record: record the prompt as well."
    ),
    show_reasoning: bool = options.SHOW_REASONING,
) -> int:
    """Stream the answer to a prompt.

    The text goes to stdout while it is generated, a summary to stderr. Ctrl-C cancels the generation. If the
    connection breaks, the stream resumes automatically.
    """
    if prompt is not None and resume is not None:
        raise typer.BadParameter("give either a prompt or --resume ID", param_hint="PROMPT")
    if after and resume is None:
        raise typer.BadParameter("is allowed only with --resume ID", param_hint="--after")
    if record_prompt and record is None:
        raise typer.BadParameter("is allowed only with --record FILE", param_hint="--record-prompt")
    options.check_timeout(timeout)

    def open_stream(client: TokenStreamClient) -> TokenStream:
        if resume is not None:
            return client.resume(resume, after, timeout=timeout)
        return client.stream(
            build_input(text, system=system, raw=raw),
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
    printer = StreamPrinter(json=json, reasoning=show_reasoning)
    if record is None:
        return run(_stream(server, open_stream, printer), server)
    header = {"model": model or ""} | ({"prompt": text, "system": system or ""} if record_prompt else {})
    with Recorder(record, header) as printer.recorder:
        return run(_stream(server, open_stream, printer), server)


async def _stream(
    server: Server, open_stream: Callable[[TokenStreamClient], TokenStream], printer: StreamPrinter
) -> int:
    async with server.connect() as client:
        try:
            await follow(client, open_stream(client), printer)
        except TokenStreamError as error:
            if printer.recorder is not None:
                printer.recorder.record_failure(error)
            raise
    return 0


async def follow(client: TokenStreamClient, tokens: TokenStream, printer: StreamPrinter) -> None:
    """Prints a stream and its summary. Ctrl-C or SIGTERM stops the stream and cancels its generation.

    Raises Interrupted or TokenStreamError after the summary.
    """
    summary = None
    try:
        async with tokens:
            await interruptible(_print_messages(tokens, printer))
    except Interrupted:
        # The server may have generated and billed more tokens than have arrived.
        with suppress(TokenStreamError):
            summary = Summary.of_generation(await client.get(tokens.generation_id, timeout=_SUMMARY_TIMEOUT))
        raise
    finally:
        printer.finish(summary or Summary.of_stream(tokens))


async def _print_messages(tokens: TokenStream, printer: StreamPrinter) -> None:
    async for message in tokens.messages():
        printer.print_message(message)
