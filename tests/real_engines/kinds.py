"""The engines that `make engines` tries: how each is started, and what its model can do."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tests.real_engines.processes import Process
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

INSTALLED: Final = ROOT / ".tools" / "engines"
_MAKERS: Final = ROOT / "tests" / "real_engines" / "models"
_LLAMACPP: Final = INSTALLED / "llamacpp" / "llama-server"
_LITELLM: Final = INSTALLED / "litellm" / "bin"


@dataclass
class Engine:
    """A running engine. `process` is the one that tokengrpc calls; `helpers` run behind or beside it."""

    process: Process
    helpers: list[Process] = field(default_factory=list)
    oracle: Process | None = None
    """Answers over HTTP what the engine would, if the engine itself does not speak HTTP."""
    busy: Callable[[], int] = lambda: 0
    """Returns how many requests the engine says it is running."""

    def start(self) -> None:
        """Starts what does not run."""
        for process in (*self.helpers, self.process):
            process.start()

    def stop(self) -> None:
        """Kills all processes."""
        for process in (self.process, *self.helpers):
            process.kill()

    @property
    def direct_url(self) -> str:
        """The URL for direct calls over HTTP."""
        return f"http://127.0.0.1:{(self.oracle or self.process).port}/v1"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """An engine of the table: `settings` are those of tokengrpc's model."""

    name: str
    installed_as: str
    """Its name in tools/install_engines.sh."""
    program: Path
    settings: Mapping[str, Any]
    launch: Callable[[Path], Engine]
    version: Callable[[], str]
    model: str
    """The engine's own name of its model."""
    prompt_api: str = "completions"
    """The API to which a prompt goes."""
    names_stop: bool = False
    """Whether the engine says that a stop sequence ended the output."""
    scripted: bool = False
    """Whether the model says the fixed texts of `scripted_gguf`."""
    base_path: str = "/v1"
    context: int = 16384
    never_ending: Mapping[str, Any] = field(default_factory=dict)
    """Fields of a request that keep the model from ending by itself."""
    lacks: Mapping[str, str] = field(default_factory=dict)
    """Cases that the engine cannot run, with the reason."""

    def missing(self) -> str:
        """Returns why the engine cannot run here; empty if it can."""
        if self.program.exists():
            return ""
        reason = INSTALLED / f"{self.installed_as}.missing"
        return reason.read_text(encoding="utf-8").strip() if reason.exists() else "not installed"


def _text_of(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return (done.stdout + done.stderr).strip()


def _package(python: Path, name: str) -> str:
    return _text_of(str(python), "-c", f"import importlib.metadata as m; print(m.version({name!r}))")


def scripted_model(folder: Path) -> Path:
    """Writes the model that says fixed texts, and returns its file."""
    path = folder / "scripted.gguf"
    subprocess.run(
        [INSTALLED / "models" / "bin" / "python", _MAKERS / "scripted_gguf.py", path], check=True, timeout=120
    )
    return path


def _metric(port: int, pattern: str) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = re.findall(pattern, text, re.MULTILINE)
    assert found, f"the engine's metrics have no {pattern}"
    return int(sum(float(value) for value in found))


def _llama_server(folder: Path) -> Process:
    model = scripted_model(folder)

    def command(port: int) -> list[str]:
        flags = f"--host 127.0.0.1 --port {port} --alias scripted --ctx-size 65536 --parallel 4"
        flags += " --threads 1 --metrics --jinja --no-webui --no-warmup"
        return [str(_LLAMACPP), "--model", str(model), *flags.split()]

    return Process(command, folder, ready_path="/health")


def _llamacpp(folder: Path) -> Engine:
    process = _llama_server(folder)
    return Engine(process, busy=lambda: _llama_busy(process))


def _llama_busy(process: Process) -> int:
    return _metric(process.port, r"^llamacpp:requests_(?:processing|deferred) (\S+)")


def _llamacpp_version() -> str:
    return (INSTALLED / "llamacpp" / "version").read_text(encoding="utf-8").strip()


LLAMACPP: Final = Kind(
    name="llama.cpp",
    installed_as="llamacpp",
    program=_LLAMACPP,
    settings={"kind": "openai", "dialect": "llamacpp", "api": "auto", "upstream_model": "scripted"},
    launch=_llamacpp,
    version=_llamacpp_version,
    model="scripted",
    scripted=True,
    lacks={"an_unknown_model_is_refused": "llama-server has one model, and serves it under every name"},
)


def _litellm(folder: Path) -> Engine:
    behind = _llama_server(folder)
    settings = folder / "litellm.yaml"
    entry = {
        "model": "openai/scripted",
        "api_base": f"http://127.0.0.1:{behind.port}/v1",
        "api_key": "none",
    }
    settings.write_text(json.dumps({"model_list": [{"model_name": "scripted", "litellm_params": entry}]}))
    proxy_folder = folder / "proxy"
    proxy_folder.mkdir()

    def command(port: int) -> list[str]:
        flags = ["--host", "127.0.0.1", "--port", str(port), "--config", str(settings)]
        return [str(_LITELLM / "litellm"), *flags]

    process = Process(
        command,
        proxy_folder,
        ready_path="/health/liveliness",
        environment={
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            # It listens on loopback only, during the run.
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        },
        seconds=120,
    )
    return Engine(process, helpers=[behind], busy=lambda: _llama_busy(behind))


LITELLM: Final = Kind(
    name="LiteLLM before llama.cpp",
    installed_as="litellm",
    program=_LITELLM / "litellm",
    settings={"kind": "openai", "dialect": "litellm", "api": "auto", "upstream_model": "scripted"},
    launch=_litellm,
    version=lambda: _package(_LITELLM / "python", "litellm"),
    model="scripted",
    prompt_api="chat",
    scripted=True,
)

KINDS: Final = (LLAMACPP, LITELLM)
