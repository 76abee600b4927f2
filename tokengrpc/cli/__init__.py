"""The command line: thin commands over the client library; `serve` and `config` use the server's modules."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

from tokengrpc.cli import exits
from tokengrpc.extras import MissingExtraError, require

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command and exits with its exit code. Without the extra `cli`, says how to install it."""
    if os.getpid() == 1:
        # In a container. The kernel drops signals to process 1 that it does not handle, instead of ending it.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(exits.TERMINATED))
    try:
        require("cli", "the command line")
    except MissingExtraError as error:
        sys.exit(f"error: {error}")
    try:
        from tokengrpc.cli.app import main as run  # noqa: PLC0415 - needs the extra

        run(arguments)
    except KeyboardInterrupt:  # mostly during the imports, which take a moment
        sys.exit(exits.INTERRUPTED)
