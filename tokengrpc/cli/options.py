"""Options that several commands share."""

from __future__ import annotations

import typer

from tokengrpc.cli.target import DEFAULT_TARGET, check_target

# The UsageError of click. Newer versions of Typer contain their own copy of click, so it is taken from Typer.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]

TARGET = typer.Option(
    DEFAULT_TARGET,
    "--target",
    envvar="TOKENGRPC_TARGET",
    metavar="HOST:PORT",
    callback=check_target,
    help="The server's address, or a gRPC target such as dns:///name:50051 or unix:/path.",
)
TOKEN_ENV = typer.Option(
    "TOKENGRPC_TOKEN",
    "--token-env",
    metavar="NAME",
    help="The environment variable that holds your token, if the server requires one.",
)
MODEL = typer.Option(
    None, "--model", metavar="NAME", help="The model; without it, the server's default model."
)
PROMPT = typer.Argument(
    None, metavar="PROMPT", help="The text; with - or a pipe, it is read from stdin.", show_default=False
)
GENERATION_ID = typer.Argument(..., metavar="ID", help="The generation's id.", show_default=False)
RAW = typer.Option(
    False,
    "--raw",
    help="Send the text as a plain prompt to be continued, not as a user's message in a conversation.",
)
SYSTEM = typer.Option(
    None, "--system", metavar="TEXT", help="The system message at the start of the conversation."
)
MAX_TOKENS = typer.Option(None, "--max-tokens", min=1, help="The maximum number of tokens to generate.")
TEMPERATURE = typer.Option(
    None, "--temperature", help="Sampling temperature, from 0 (always the most likely token) to 2."
)
SEED = typer.Option(None, "--seed", help="Makes the answer reproducible, if the engine supports it.")
SHOW_REASONING = typer.Option(False, "--show-reasoning", help="Show the model's reasoning on stderr.")
JSON = typer.Option(False, "--json", help="Print the contract's message as JSON.")
STOP = typer.Option(
    [],
    "--stop",
    metavar="TEXT",
    help="A stop sequence: ends the answer and is not part of it. May be repeated.",
)
RECORD = typer.Option(
    None, "--record", metavar="FILE", help="Record the stream in a new file, for a replay engine."
)
SWITCHES = typer.Option(
    None,
    "--switches",
    metavar="N",
    min=0,
    help="How many times another engine may continue the answer after an engine fails.",
)
TIMEOUT = typer.Option(None, "--timeout", metavar="SECONDS", help="The time limit for the complete answer.")


def check_timeout(timeout: float | None) -> None:
    """Raises BadParameter for a timeout that is not positive."""
    if timeout is not None and not timeout > 0:
        raise typer.BadParameter("must be more than 0 seconds", param_hint="--timeout")
