"""The command line: thin commands over the client library; `serve` and `config` use the server's modules."""

from __future__ import annotations

from tokengrpc.cli.app import main

__all__ = ["main"]
