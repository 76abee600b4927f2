"""The process of an engine, started before its tests and killed by some of them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.support.ports import reserved_port

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path


class Process:
    """A program with its log. It listens on `port`.

    It is ready when it answers at `ready_path`, or when `is_ready` says so of its port.
    """

    def __init__(
        self,
        command: Callable[[int], Sequence[str]],
        folder: Path,
        *,
        ready_path: str = "",
        is_ready: Callable[[int], bool] | None = None,
        environment: Mapping[str, str] | None = None,
        seconds: float = 60,
    ) -> None:
        self.port = reserved_port()
        self.log_path = folder / "log.txt"
        self._command = command(self.port)
        self._environment = os.environ | {"HOME": str(folder)} | dict(environment or {})
        self._ready_path = ready_path
        self._ready = is_ready
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def group(self) -> int:
        """The id of the process group of the program and its children."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Starts the program if it does not run, and waits until it is ready."""
        if not self.alive:
            self.begin()
            self.await_ready()

    def begin(self) -> None:
        """Starts the program, without waiting until it is ready."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                ["nice", "-n", "10", *self._command],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=self._environment,
                start_new_session=True,
            )

    def await_ready(self) -> None:
        """Waits until the program is ready. Fails if it ends, or takes too long."""
        deadline = time.monotonic() + self._seconds
        while not self._is_ready():
            if not self.alive or time.monotonic() > deadline:
                self.kill()
                pytest.fail(f"the engine does not start: {self.log()[-600:]}")
            time.sleep(0.1)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the program and its children."""
        os.killpg(self.group, number)

    def kill(self) -> None:
        """Kills the program and its children, and waits for their end."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self.signal(signal.SIGKILL)
            self._process.wait(30)

    def log(self) -> str:
        """Returns what the program has written so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""

    def _is_ready(self) -> bool:
        if self._ready is not None:
            return self._ready(self.port)
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}{self._ready_path}", timeout=5
            ) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False
