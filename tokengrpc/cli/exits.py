"""Exit codes of the commands and their meanings."""

from __future__ import annotations

import shutil
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# As wide as Typer makes the rest of the help at most.
_HELP_WIDTH = 80

OK = 0
FAILURE = 1
USAGE = 2
INTERRUPTED = 130
OUTPUT_CLOSED = 141
TERMINATED = 143

MEANINGS = {
    OK: "done",
    FAILURE: "the call, the server or the output failed; stderr has the reason",
    USAGE: "wrong usage or configuration",
    INTERRUPTED: "interrupted (Ctrl-C); the generation was cancelled",
    OUTPUT_CLOSED: "the reader of stdout closed the pipe (`| head`); the generation was cancelled",
    TERMINATED: "terminated (SIGTERM); the generation was cancelled",
}


def epilog(meanings: Mapping[int, str], *more: str) -> str:
    r"""Returns the end of a command's help: a list of exit codes, and more paragraphs.

    The help would join their lines without the `\b` before them, so they are wrapped here.
    """
    width = min(shutil.get_terminal_size().columns, _HELP_WIDTH) - 4
    codes = [
        textwrap.fill(f"{code:<5}{meaning}", width, subsequent_indent=" " * 5)
        for code, meaning in meanings.items()
    ]
    return "\n\n".join(["\b\n" + "\n".join(["Exit codes:", *codes]), *more])


EPILOG = epilog(MEANINGS, "`probe` has its own exit codes, see `tokengrpc probe --help`.")
