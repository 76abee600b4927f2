"""llama.cpp's own server with the scripted model."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Final

from tests.real_engines.kind import INSTALLED, MAKERS, Engine, Kind, installed_version, metric
from tests.real_engines.processes import Process

if TYPE_CHECKING:
    from pathlib import Path

_LLAMACPP: Final = INSTALLED / "llamacpp" / "llama-server"


def scripted_model(folder: Path) -> Path:
    """Writes the model that says fixed texts, and returns its file."""
    path = folder / "scripted.gguf"
    subprocess.run(
        [INSTALLED / "models" / "bin" / "python", MAKERS / "scripted_gguf.py", path], check=True, timeout=120
    )
    return path


def llama_server(folder: Path) -> Process:
    """Returns the server, which others may stand before."""
    model = scripted_model(folder)

    def command(port: int) -> list[str]:
        flags = f"--host 127.0.0.1 --port {port} --alias scripted --ctx-size 65536 --parallel 4"
        flags += " --threads 1 --metrics --jinja --no-webui --no-warmup"
        return [str(_LLAMACPP), "--model", str(model), *flags.split()]

    return Process(command, folder, ready_path="/health")


def _llamacpp(folder: Path) -> Engine:
    process = llama_server(folder)
    return Engine(process, busy=lambda: llama_busy(process), generated=lambda: llama_generated(process))


def llama_busy(process: Process) -> int:
    """Returns how many requests it runs or has in its queue."""
    return metric(process.port, r"^llamacpp:requests_(?:processing|deferred) (\S+)")


def llama_generated(process: Process) -> int:
    """Returns how many tokens it has generated."""
    return metric(process.port, r"^llamacpp:tokens_predicted_total (\S+)")


LLAMACPP: Final = Kind(
    name="llama.cpp",
    installed_as="llamacpp",
    program=_LLAMACPP,
    settings={"kind": "openai", "dialect": "llamacpp", "api": "auto", "upstream_model": "scripted"},
    launch=_llamacpp,
    version=lambda: installed_version("llamacpp"),
    model="scripted",
    scripted=True,
    lacks={"an_unknown_model_is_refused": "llama-server has one model, and serves it under every name"},
)
