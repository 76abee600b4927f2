"""What the exit code of a command means."""

from __future__ import annotations

OK = 0
FAILURE = 1
USAGE = 2
INTERRUPTED = 130
NOBODY_READS = 141
TERMINATED = 143

MEANINGS = {
    OK: "done",
    FAILURE: "the call, the server or the output failed; stderr says why",
    USAGE: "wrong usage or configuration",
    INTERRUPTED: "interrupted (Ctrl-C); the generation was cancelled",
    NOBODY_READS: "nobody reads the output any more (`| head`); the generation was cancelled",
    TERMINATED: "told to stop (SIGTERM); the generation was cancelled",
}

# Typer wants an empty line between lines that shall stay apart.
EPILOG = "\n\n".join(
    [
        "Exit codes:",
        *(f"{code}  {meaning}" for code, meaning in MEANINGS.items()),
        "`probe` has its own, see `tokengrpc probe --help`.",
    ]
)
