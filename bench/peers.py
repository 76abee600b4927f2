"""Relays that tokengrpc is compared with, in front of the same engine and under the same load."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from bench.script import MODEL

OURS, TEXTBOOK, GO, LITELLM = "tokengrpc", "textbook", "Go relay", "LiteLLM, SSE"
PEERS = (TEXTBOOK, GO, LITELLM)
SSE = {LITELLM}
"""Peers that have no gRPC, and are read as server-sent events."""
_ROOT = Path(__file__).resolve().parent.parent
_GO_PROGRAM = Path(".tools/bin/go_relay")
_LITELLM_PROGRAM = _ROOT / ".tools/engines/litellm/bin/litellm"
_LITELLM_VARIABLES = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    # It listens on loopback only, during the run.
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    "OPENAI_API_KEY": "none",
    "PYTHONPATH": "",
}
_BUILD_LIMIT_S = 600.0


def peer_commands(engine_url: str, listen: list[str]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Returns the command that starts each peer, and why the others cannot be measured here."""
    to_engine = ["--base-url", engine_url, "--model", MODEL, *listen]
    commands = {TEXTBOOK: [sys.executable, "-m", "bench.textbook", *to_engine]}
    missing = {}
    if why := _build_go():
        missing[GO] = why
    else:
        commands[GO] = [str(_ROOT / _GO_PROGRAM), *to_engine]
    if _LITELLM_PROGRAM.exists():
        commands[LITELLM] = _litellm(engine_url)
    else:
        missing[LITELLM] = "it is not installed: run `tools/install_engines.sh litellm`"
    return commands, missing


def _litellm(engine_url: str) -> list[str]:
    """Returns the command of LiteLLM's proxy: one process, as it is without settings."""
    variables = [f"{name}={value}" for name, value in _LITELLM_VARIABLES.items()]
    to_engine = ["--model", f"openai/{MODEL}", "--api_base", engine_url]
    return ["env", *variables, str(_LITELLM_PROGRAM), *to_engine, "--host", "127.0.0.1", "--port", "0"]


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
