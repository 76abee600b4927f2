"""Exit codes of the commands and their meanings."""

from __future__ import annotations

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

# Typer joins consecutive lines, so an empty line separates them.
EPILOG = "\n\n".join(
    [
        "Exit codes:",
        *(f"{code}  {meaning}" for code, meaning in MEANINGS.items()),
        "`probe` has its own exit codes, see `tokengrpc probe --help`.",
    ]
)
