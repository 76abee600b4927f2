"""Relays that tokengrpc is compared with, in front of the same engine and under the same load."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from bench.script import MODEL

OURS, TEXTBOOK, GO = "tokengrpc", "textbook", "Go relay"
PEERS = (TEXTBOOK, GO)
_ROOT = Path(__file__).resolve().parent.parent
_GO_PROGRAM = Path(".tools/bin/go_relay")
_BUILD_LIMIT_S = 600.0


def peer_commands(engine_url: str, listen: list[str]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Returns the command that starts each peer, and why the others cannot be measured here."""
    to_engine = ["--base-url", engine_url, "--model", MODEL, *listen]
    commands = {TEXTBOOK: [sys.executable, "-m", "bench.textbook", *to_engine]}
    why = _build_go()
    if why:
        return commands, {GO: why}
    return commands | {GO: [str(_ROOT / _GO_PROGRAM), *to_engine]}, {}


def _build_go() -> str:
    """Builds the Go relay as the Makefile does. Returns why that is not possible; empty if it is there."""
    if shutil.which("go") is None:
        return "Go is not installed"
    make = ["make", "--no-print-directory", str(_GO_PROGRAM)]
    try:
        done = subprocess.run(
            make, cwd=_ROOT, capture_output=True, text=True, timeout=_BUILD_LIMIT_S, check=False
        )
    except (subprocess.TimeoutExpired, OSError) as error:
        return f"it cannot be built: {error}"
    said = (done.stderr or done.stdout).strip().splitlines()
    return f"it cannot be built: {' '.join(said[-3:])[-300:]}" if done.returncode else ""
