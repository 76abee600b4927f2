"""Options that several commands share."""

from __future__ import annotations

import typer

from tokengrpc.cli.target import DEFAULT_TARGET, check_target

# Newer versions of Typer have their own copy of click; this is click's UsageError in all of them.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]

TARGET = typer.Option(
    DEFAULT_TARGET,
    "--target",
    envvar="TOKENGRPC_TARGET",
    metavar="HOST:PORT",
    callback=check_target,
    help="The server, or a gRPC target such as dns:///name:50051 or unix:/path.",
)
TOKEN_ENV = typer.Option(
    "TOKENGRPC_TOKEN",
    "--token-env",
    metavar="NAME",
    help="The environment variable that holds your token, if the server wants one.",
)
MODEL = typer.Option(None, "--model", metavar="NAME", help="The model; the server's default if not given.")
PROMPT = typer.Argument(
    None, metavar="PROMPT", help="The text; - or a pipe reads it from stdin.", show_default=False
)
GENERATION_ID = typer.Argument(..., metavar="ID", help="The generation's id.", show_default=False)
RAW = typer.Option(
    False, "--raw", help="Send the text to be continued as it is, not as a user's message in a conversation."
)
SYSTEM = typer.Option(None, "--system", metavar="TEXT", help="Instructions above a conversation.")
MAX_TOKENS = typer.Option(None, "--max-tokens", min=1, help="The most tokens to generate.")
TEMPERATURE = typer.Option(None, "--temperature", help="0 (always the likeliest) to 2.")
SEED = typer.Option(None, "--seed", help="Makes the answer repeatable where the engine can.")
SHOW_REASONING = typer.Option(False, "--show-reasoning", help="Show the model's reasoning on stderr.")
JSON = typer.Option(False, "--json", help="Print the contract's message as JSON.")
STOP = typer.Option([], "--stop", metavar="TEXT", help="Ends the answer, not part of it; may be repeated.")
RECORD = typer.Option(None, "--record", metavar="FILE", help="Write it down, for a replay engine.")
SWITCHES = typer.Option(
    None,
    "--switches",
    metavar="N",
    min=0,
    help="How often another engine may go on after a loss.",
)
TIMEOUT = typer.Option(None, "--timeout", metavar="SECONDS", help="The longest to wait for the end.")


def check_timeout(timeout: float | None) -> None:
    """Raises BadParameter for a time that is over already."""
    if timeout is not None and not timeout > 0:
        raise typer.BadParameter("must be more than 0 seconds", param_hint="--timeout")
