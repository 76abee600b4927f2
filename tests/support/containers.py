"""Runs a folder as a container: in namespaces of its own, without a network, as the image's user.

No container engine is needed, but Linux and root are.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING, Final

import pytest

from tests.support.toolchains import REQUIRE_ALL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.support.containerfile import Config

_INIT: Final = Path(__file__).with_name("container_init.py")
_NAMESPACES: Final = ("--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child")
# Prints the folders in which a process can make a file.
_WRITABLE: Final = """
import os
def writable(folder):
    try:
        os.close(os.open(os.path.join(folder, "try"), os.O_CREAT | os.O_WRONLY))
        os.unlink(os.path.join(folder, "try"))
    except OSError:
        return False
    return True
folders = (path for path, _, _ in os.walk("/") if not path.startswith(("/proc", "/sys", "/dev")))
print("\\n".join(sorted(filter(writable, folders))))
"""
_PROGRAMS: Final = ("unshare", "nsenter", "mount")


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What `container_init.py` does. Paths within the container are absolute."""

    root: Path
    command: Sequence[str]
    user: str = "0:0"
    folder: str = "/"
    environment: Mapping[str, str]
    volumes: Sequence[tuple[str, str, bool]] = ()
    """Source, target, and whether it is read-only."""
    temporary: Sequence[str] = ("/tmp",)
    read_only: bool = True
    offline: bool = True

    def start(self, out: int | None = None, errors: IO[str] | None = None) -> subprocess.Popen[str]:
        """Starts the command as process 1 of a container."""
        network = ("--net",) if self.offline else ()
        fields = json.dumps(vars(self), default=str)
        command = ("unshare", *_NAMESPACES, *network, sys.executable, "-I", str(_INIT), fields)
        return subprocess.Popen(command, text=True, stdout=out, stderr=errors)


@cache
def _missing() -> str:
    absent = [program for program in _PROGRAMS if shutil.which(program) is None]
    if absent:
        return f"{', '.join(absent)} not found"
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--net", "--fork", "true"], capture_output=True, check=False
    )
    return done.stderr.decode().strip()


def require_namespaces() -> None:
    """Skips the test, with the reason, if this process may not make namespaces.

    Fails it if a program is missing and all toolchains are required.
    """
    if missing := _missing():
        reason = f"containers need Linux and root: {missing}"
        (pytest.fail if REQUIRE_ALL and "not found" in missing else pytest.skip)(reason)


def child_of(process: subprocess.Popen[str]) -> int:
    """Returns the process that `unshare` or `nsenter` waits for; 0 if it has not started one yet."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(children[0]) if children else 0


class Container:
    """A running container."""

    def __init__(self, process: subprocess.Popen[str], spec: Spec, config: Config, errors: Path) -> None:
        self.process = process
        self._spec = spec
        self._config = config
        self._errors = errors

    @property
    def pid(self) -> int:
        """The process that is number 1 in the container, as this machine numbers it."""
        return child_of(self.process)

    def log(self) -> str:
        """Returns what the container has written to stderr so far."""
        return self._errors.read_text(encoding="utf-8")

    def execute(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs another command in the container, as its user, and waits for its end."""
        with self.executing(*command, **variables) as process:
            out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def executing(self, *command: str, **variables: str) -> subprocess.Popen[str]:
        """Starts another command in the container, as its user."""
        user, _, group = self._spec.user.partition(":")
        enter = (
            "nsenter",
            f"--target={self.pid}",
            "--mount",
            "--pid",
            "--ipc",
            "--uts",
            "--net",
            "--root",
            "--wd",
        )
        return subprocess.Popen(
            [
                shutil.which(enter[0]) or enter[0],
                *enter[1:],
                f"--setgid={group}",
                f"--setuid={user}",
                *command,
            ],
            env={**self._spec.environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def writable_folders(self) -> list[str]:
        """Returns the folders in which the container's user can make a file, without those of devices."""
        return self.execute("/opt/tokengrpc/bin/python3", "-c", _WRITABLE).stdout.splitlines()

    def check_health(self) -> subprocess.CompletedProcess[str]:
        """Runs the image's health check."""
        return self.execute(*self._config.health_check)

    def stop(self) -> int:
        """Stops the container as an engine does. Returns the exit code."""
        os.kill(self.pid, signal.Signals[self._config.stop_signal])
        return self.process.wait(60)


@contextmanager
def starting(
    root: Path, config: Config, *arguments: str, user: str = "", **options: object
) -> Iterator[Container]:
    """Starts an image whose files are in `root`. Kills it when the block exits.

    `arguments` replace the image's command. The keywords are those of `Spec`; `environment` is added to the
    image's.
    """
    given = dict(options.pop("environment", ()))  # type: ignore[call-overload] # a mapping
    spec = Spec(
        root=root,
        command=[*config.entrypoint, *(arguments or config.command)],
        user=user or config.user,
        folder=config.folder,
        environment=config.environment | given,
    )
    spec = replace(spec, **options)  # type: ignore[arg-type] # checked by the dataclass
    with TemporaryDirectory() as folder:
        errors = Path(folder) / "errors"
        with errors.open("w") as log, spec.start(subprocess.PIPE, log) as process:
            try:
                yield Container(process, spec, config, errors)
            finally:
                _kill(process)
                sys.stderr.write(errors.read_text())  # pytest shows it if the test fails


def _kill(process: subprocess.Popen[str]) -> None:
    """Kills process 1 and with it the container. The death of `unshare` alone does not: user ids changed."""
    if process.poll() is None and (first := child_of(process)):
        os.kill(first, signal.SIGKILL)
    process.kill()


def wait_until_ready(container: Container) -> None:
    """Waits until the server in the container listens."""
    assert container.process.stdout is not None
    line = container.process.stdout.readline()
    assert line.startswith("listening on "), container.log()
