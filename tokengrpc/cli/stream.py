"""`tokengrpc stream`: shows one generation while it runs."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003 - typer reads annotations at run time
from typing import TYPE_CHECKING

import typer

from tokengrpc.cli import options
from tokengrpc.cli.endpoint import Endpoint, with_endpoint
from tokengrpc.cli.options import Priority, Shown
from tokengrpc.cli.output import note_width, wraps, write, write_json, write_note
from tokengrpc.cli.prompt import build_input, read_prompt
from tokengrpc.cli.record import Recorder
from tokengrpc.cli.session import Interrupted, Server, interruptible, run
from tokengrpc.cli.summary import Summary, Total
from tokengrpc.cli.timing import Latencies
from tokengrpc.cli.wrapping import Wrapper
from tokengrpc.client import Cursor, TokenStreamError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokenstreaming.v1.generation_pb2 import EngineSwitched
    from tokenstreaming.v1.token_stream_pb2 import StreamTokensResponse

    from tokengrpc.client import TokenStream, TokenStreamClient

# Seconds to wait for the final usage of a generation that Ctrl-C cancelled.
_SUMMARY_TIMEOUT = 2.0


@dataclass(slots=True)
class StreamPrinter:
    """Prints the messages of streams: text to stdout, everything else to stderr.

    `latencies`: records when tokens arrive, to be shown at the end. `total`: the usage of all streams so far.
    `begun`: a message of the current stream has arrived. `wrapper`: for text on a terminal.
    """

    json: bool = False
    reasoning: bool = False
    recorder: Recorder | None = None
    latencies: Latencies | None = None
    total: Total = field(default_factory=Total)
    begun: bool = False
    wrapper: Wrapper | None = field(default_factory=lambda: Wrapper() if wraps() else None)
    _line_open: bool = False
    _note_open: bool = False

    def print_message(self, message: StreamTokensResponse) -> None:
        """Prints one message, and records it if there is a recorder."""
        self.begun = True
        if self.latencies is not None:
            self.latencies.record(len(message.tokens))
        if self.recorder is not None:
            self.recorder.record_message(message)
        if self.json:
            write_json(message)
            return
        if message.HasField("engine_switched"):
            self._print_switch(message.engine_switched)
        for token in message.tokens:
            if self.reasoning:
                self._print_note(token.reasoning_text)
            self._print_note(token.refusal_text)
            self._print_text(token.text)

    def _print_text(self, text: str) -> None:
        if not text:
            return
        if self._note_open and self._one_terminal:
            self._break_lines()
        write(text, wrapper=self.wrapper)
        self._line_open = not text.endswith("\n")

    def _print_note(self, text: str) -> None:
        """Prints reasoning or a refusal, on a terminal in lines of its own."""
        if not text:
            return
        if self._line_open and self._one_terminal:
            self._break_lines()
        write_note(text, end="", wrapper=self.wrapper)
        self._note_open = not text.endswith("\n")

    def _print_switch(self, switched: EngineSwitched) -> None:
        # On a terminal, the note would otherwise follow the answer on the same line.
        line_break = "\n" if self._line_open else ""
        failure = f"engine {switched.from_engine} failed ({switched.reason})"
        write_note(f"{line_break}{failure}, engine {switched.to_engine} continues the answer")
        if self.wrapper is not None:
            self.wrapper = Wrapper()

    @property
    def _one_terminal(self) -> bool:
        """Whether stdout and stderr are the same terminal, as far as that can be known."""
        return self.wrapper is not None and sys.stderr.isatty()

    def _break_lines(self) -> None:
        """Ends the open lines of both streams."""
        if self._line_open:
            write("\n", wrapper=self.wrapper)
        if self._note_open:
            write_note("\n", end="", wrapper=self.wrapper)
        self._line_open = self._note_open = False

    def finish(self, summary: Summary) -> None:
        """Ends the open line and prints the summary, unless no message has arrived."""
        self._break_lines()
        if self.begun:
            self.total.add(summary)
            width = note_width()
            write_note(summary.text(width))
            if self.latencies is not None:
                write_note(self.latencies.text(width, sys.stderr.encoding))
        self.begun = False


@with_endpoint
def stream(
    prompt: str = options.PROMPT,
    *,
    endpoint: Endpoint,
    model: str = options.MODEL,
    raw: bool = options.RAW,
    system: str = options.SYSTEM,
    max_tokens: int = options.MAX_TOKENS,
    temperature: float = options.TEMPERATURE,
    seed: int = options.SEED,
    stop: list[str] = options.STOP,
    label: list[str] = options.LABELS,
    switches: int = options.SWITCHES,
    priority: Priority = options.PRIORITY,
    timeout: float = options.TIMEOUT,
    patience: float = options.PATIENCE,
    partial: bool = typer.Option(
        False, "--partial", help="When --timeout expires, keep the partial answer and exit with 0."
    ),
    generation_id: str = typer.Option(
        None, "--id", metavar="ID", help="The id of the new generation; without it, a random one."
    ),
    resume: str = typer.Option(
        None,
        "--resume",
        metavar="CURSOR|ID",
        help="Read a generation instead of starting one: the rest after a cursor, or all of it.",
    ),
    after: int = typer.Option(
        0,
        "--after",
        metavar="N",
        callback=options.between(0, options.INT32),
        help="With --resume ID: show only the events after this sequence.",
    ),
    json: bool = typer.Option(False, "--json", help="Print each message as a line of JSON."),
    record: Path = options.RECORD,
    record_prompt: bool = typer.Option(
        False, "--record-prompt", help="With --record: record the prompt as well."
    ),
    show_reasoning: bool = options.SHOW_REASONING,
    show: list[Shown] = options.SHOW,
) -> int:
    """Stream the answer to a prompt.

    With - or a pipe, PROMPT is read from stdin. The text goes to stdout while it is generated, a summary to
    stderr. Ctrl-C cancels the generation. If the connection breaks, the stream resumes automatically.
    """
    if prompt is not None and resume is not None:
        raise typer.BadParameter("give either a prompt or --resume", param_hint="PROMPT")
    if after and (resume is None or is_cursor(resume)):
        raise typer.BadParameter("is allowed only with --resume ID", param_hint="--after")
    if record_prompt and record is None:
        raise typer.BadParameter("is allowed only with --record FILE", param_hint="--record-prompt")
    options.check_timeout(timeout)
    labels = dict(map(options.label, label))

    def open_stream(client: TokenStreamClient) -> TokenStream:
        if resume is not None:
            return client.resume(resume if is_cursor(resume) else Cursor(resume, after), timeout=timeout)
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
            labels=labels,
            max_engine_switch_count=switches,
            priority=None if priority is None else priority.value,
        )

    text = read_prompt(prompt) if resume is None else ""
    server = Server(endpoint, patience)
    printer = StreamPrinter(
        json=json, reasoning=show_reasoning, latencies=Latencies() if Shown.TIMING in show else None
    )
    if record is None:
        return run(_stream(server, open_stream, printer), server)
    header = {"model": model or ""} | ({"prompt": text, "system": system or ""} if record_prompt else {})
    with Recorder(record, header) as printer.recorder:
        return run(_stream(server, open_stream, printer), server)


def is_cursor(text: str) -> bool:
    """Returns whether a text is meant as a cursor, and not as an id alone."""
    return text.startswith("tg1.")


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
