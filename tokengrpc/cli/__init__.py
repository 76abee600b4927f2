"""The command line: thin commands over the client library and, for `serve`, the server."""

from __future__ import annotations

from tokengrpc.cli.app import main

__all__ = ["main"]
