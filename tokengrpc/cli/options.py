"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T", int, float, int | None)

# The UsageError of click. Newer versions of Typer contain their own copy of click, so it is taken from Typer.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def between(least: float, most: float) -> Callable[[T], T]:
    """Returns a callback that checks an option. Unlike `min` and `max`, it adds nothing to the help."""

    def check(value: T) -> T:
        if value is not None and not least <= value <= most:
            raise typer.BadParameter(f"must be from {least} to {most}")
        return value

    return check


# The largest numbers of the contract.
INT32, INT64 = 2**31 - 1, 2**63 - 1

MODEL = typer.Option(
    None, "--model", metavar="NAME", help="The model; without it, the server's default model."
)
# Hidden in the list of options, which would name their types. The commands' descriptions explain them.
PROMPT = typer.Argument(None, metavar="PROMPT", hidden=True)
GENERATION_ID = typer.Argument(..., metavar="ID", hidden=True)
RAW = typer.Option(
    False,
    "--raw",
    help="Send the text as a plain prompt to be continued, not as a user's message in a conversation.",
)
SYSTEM = typer.Option(
    None, "--system", metavar="TEXT", help="The system message at the start of the conversation."
)
MAX_TOKENS = typer.Option(
    None,
    "--max-tokens",
    metavar="N",
    callback=between(1, INT32),
    help="The maximum number of tokens to generate.",
)
TEMPERATURE = typer.Option(
    None,
    "--temperature",
    metavar="NUMBER",
    help="Sampling temperature, from 0 (always the most likely token) to 2.",
)
SEED = typer.Option(
    None,
    "--seed",
    metavar="N",
    callback=between(-INT64, INT64),
    help="Makes the answer reproducible, if the engine supports it.",
)


class Priority(StrEnum):
    """Priorities of `--priority`."""

    INTERACTIVE = "interactive"
    STANDARD = "standard"
    BATCH = "batch"


class Shown(StrEnum):
    """What `--show` adds to an answer."""

    TIMING = "timing"


SHOW = typer.Option(
    [],
    "--show",
    metavar="timing",
    help="timing: after the answer, show the inter-token latencies as a sparkline, with p50 and p99.",
)
SHOW_REASONING = typer.Option(False, "--show-reasoning", help="Show the model's reasoning on stderr.")
JSON = typer.Option(False, "--json", help="Print the contract's message as JSON.")
STOP = typer.Option(
    [],
    "--stop",
    metavar="TEXT",
    help="A stop sequence: ends the answer and is not part of it. May be repeated.",
)
LABELS = typer.Option(
    [],
    "--label",
    metavar="KEY=VALUE",
    help="A label, which usage records have and sums can be grouped by. May be repeated.",
)
RECORD = typer.Option(
    None, "--record", metavar="FILE", help="Record the stream in a new file, for a replay engine."
)
SWITCHES = typer.Option(
    None,
    "--switches",
    metavar="N",
    callback=between(0, INT32),
    help="How many times another engine may continue the answer after an engine fails.",
)
PRIORITY = typer.Option(
    None,
    "--priority",
    metavar="PRIORITY",
    help="Who goes first when requests wait for an engine: interactive, standard (the default) or batch.",
)
TIMEOUT = typer.Option(None, "--timeout", metavar="SECONDS", help="The time limit for the complete answer.")
PATIENCE = typer.Option(
    10.0,
    "--patience",
    metavar="SECONDS",
    min=0,
    help="How long to try again while the server cannot be reached or is full, such as during its restart.",
)


def check_timeout(timeout: float | None) -> None:
    """Raises BadParameter for a timeout that is not positive."""
    if timeout is not None and not timeout > 0:
        raise typer.BadParameter("must be more than 0 seconds", param_hint="--timeout")


def label(text: str) -> tuple[str, str]:
    """Returns the key and the value of `--label`. Raises BadParameter."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise typer.BadParameter(f"{text!r} must be KEY=VALUE", param_hint="--label")
    return key, value
