"""What the cases know of an engine: how it is started, and what its model can do."""

from __future__ import annotations

import re
import subprocess
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.real_engines.processes import Process

INSTALLED: Final = ROOT / ".tools" / "engines"
MAKERS: Final = ROOT / "tests" / "real_engines" / "models"


@dataclass
class Engine:
    """A running engine. `process` is the one that tokengrpc calls; `helpers` run behind or beside it."""

    process: Process
    helpers: list[Process] = field(default_factory=list)
    oracle: Process | None = None
    """Answers over HTTP what the engine would, if the engine itself does not speak HTTP."""
    busy: Callable[[], int] = lambda: 0
    """Returns how many requests the engine says it is running."""
    generated: Callable[[], int] = lambda: 0
    """Returns how many tokens the engine says it has generated; always 0 if it does not say."""

    def start(self) -> None:
        """Starts what does not run, all at once, and waits until it is ready."""
        dead = [process for process in (*self.helpers, self.process) if not process.alive]
        for process in dead:
            process.begin()
        for process in dead:
            process.await_ready()

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
    logprobs_api: str = ""
    """The API that has logprobs. Empty: that of prompts."""
    names_stop: bool = False
    """Whether the engine says that a stop sequence ended the output."""
    counts_each_chunk: bool = True
    """Whether the engine reports its count of tokens with each chunk, not only at the end."""
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


def installed_version(engine: str) -> str:
    """Returns the version that was installed, of an engine that does not tell its own."""
    return (INSTALLED / engine / "version").read_text(encoding="utf-8").strip()


def text_of(*command: str) -> str:
    """Returns what a command prints."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return (done.stdout + done.stderr).strip()


def package_version(python: Path, name: str) -> str:
    """Returns the version of a package in an environment of Python."""
    return text_of(str(python), "-c", f"import importlib.metadata as m; print(m.version({name!r}))")


def metric(port: int, pattern: str) -> int:
    """Returns the sum of the samples of an engine's metrics that match a pattern."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = re.findall(pattern, text, re.MULTILINE)
    assert found, f"the engine's metrics have no {pattern}"
    return int(sum(float(value) for value in found))
