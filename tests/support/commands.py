"""Runs the command line in real processes, with real servers, pipes and terminals."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PROGRAM = (sys.executable, "-m", "tokengrpc")
# A port on which nothing listens.
CLOSED = "127.0.0.1:1"


def environment(**variables: str) -> dict[str, str]:
    """Returns the current environment without tokengrpc's variables, plus the given ones."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TOKENGRPC_")}
    return kept | variables


def tokengrpc(
    *arguments: str, stdin: bytes = b"", program: Sequence[str] = PROGRAM, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs a command and waits for its end."""
    done = subprocess.run(
        [*program, *arguments],
        input=stdin,
        capture_output=True,
        env=environment(**variables),
        timeout=60,
        check=False,
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    assert "Traceback" not in err, err
    return subprocess.CompletedProcess(done.args, done.returncode, out, err)


def shell(line: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a command line with a shell's redirections."""
    command = f"exec {shlex.join(PROGRAM)} {line}"
    done = subprocess.run(
        ["sh", "-c", command],
        capture_output=True,
        text=True,
        env=environment(**variables),
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


@contextmanager
def running(*arguments: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Starts a command, which is killed when the block exits."""
    variables = options.pop("variables", {})
    pipes = {name: options.pop(name, subprocess.PIPE) for name in ("stdin", "stdout", "stderr")}
    prefix = options.pop("prefix", PROGRAM)
    with subprocess.Popen([*prefix, *arguments], env=environment(**variables), **pipes, **options) as process:
        try:
            yield process
        finally:
            process.kill()


class Server:
    """A server in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], target: str, errors: Path) -> None:
        self.process = process
        self.target = target
        self._errors = errors

    def __call__(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Runs a client command against the server."""
        return tokengrpc(*arguments, TOKENGRPC_TARGET=self.target, **options)

    def running(self, *arguments: str, **options: Any) -> Any:
        """Starts a client command against the server, which is killed when the block exits."""
        return running(*arguments, variables={"TOKENGRPC_TARGET": self.target}, **options)

    def log(self) -> str:
        """Returns what the server has written to stderr so far."""
        return self._errors.read_text(encoding="utf-8")

    def stop(self) -> int:
        """Stops the server with SIGTERM, waits for its end, and returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@contextmanager
def serving(
    *arguments: str, max_files: int = 0, program: Sequence[str] = PROGRAM, **variables: str
) -> Iterator[Server]:
    """Starts a server on a free port, and yields it when it is ready.

    `max_files` limits the files that it may have open. `program` is another installation.
    """
    listen = ("serve", "--listen", "127.0.0.1:0", "--log-level", "error", *arguments)
    limited = ("sh", "-c", f'ulimit -n {max_files}; exec "$0" "$@"', *program)
    prefix = limited if max_files else program
    with (
        NamedTemporaryFile() as errors,
        running(*listen, variables=variables, stderr=errors, prefix=prefix) as process,
    ):
        log = Path(errors.name)
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        assert line.startswith("listening on "), log.read_text()
        try:
            yield Server(process, line.split()[-1], log)
        finally:
            sys.stderr.write(log.read_text())  # pytest shows it if the test fails
        assert process.poll() in {None, 0}, "the server died"


def state_of(server: Server, generation_id: str) -> str:
    """Returns the state of a generation, as the contract names it."""
    return str(json.loads(server("get", generation_id, "--json").stdout)["state"])


def until(condition: Callable[[], Any], what: str) -> Any:
    """Waits until a condition is true, and returns its value. Fails after 90 seconds."""
    deadline = time.monotonic() + 90
    while not (value := condition()):
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.01)
    return value
