"""Reading the settings file: whatever its name leads to, the command ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import shell, tokengrpc

if TYPE_CHECKING:
    from collections.abc import Callable

SETTINGS = 'default_model = "m"\n[[models]]\nname = "m"\n'


def test_a_device_without_an_end():
    """/dev/zero is refused at 1 MiB. An empty device is an empty file."""
    done = tokengrpc("config", "--config", "/dev/zero")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "/dev/zero: cannot be read: it has more than 1 MiB" in done.stderr
    assert tokengrpc("config", "--config", "/dev/null").returncode == 0


def test_a_large_file(tmp_path: Path):
    """A file of 1 GiB, without blocks on the disk, is refused after its first MiB."""
    file = tmp_path / "large.toml"
    with file.open("wb") as large:
        large.truncate(1 << 30)
    done = tokengrpc("config", "--config", str(file))
    assert done.returncode == 2
    assert "it has more than 1 MiB" in done.stderr


def test_a_directory(tmp_path: Path):
    """The error is the system's."""
    done = tokengrpc("config", "--config", str(tmp_path))
    assert (done.returncode, done.stderr) == (2, f"error: {tmp_path}: cannot be read: Is a directory\n")


def test_a_named_pipe_that_nobody_writes_to(tmp_path: Path):
    """The wait is bounded."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    done = tokengrpc("config", "--config", str(pipe))
    assert done.returncode == 2
    assert "it has not ended within 10 s" in done.stderr


@pytest.mark.parametrize(("make", "reason"), [(os.mkfifo, "ended within 10 s"), (None, "more than 1 MiB")])
def test_a_key_file_that_does_not_end(tmp_path: Path, make: Callable[[Path], None] | None, reason: str):
    """It is bounded like the settings file, because a running server reads it again at SIGHUP."""
    file = tmp_path / "key" if make else Path("/dev/zero")
    if make:
        make(file)
    script = "import sys; from tokengrpc.config.values import read_secret as r; r('key', '', sys.argv[1], {})"
    done = subprocess.run(
        [sys.executable, "-c", script, str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert f"ConfigError: key_file: the file {file} cannot be read: it has" in done.stderr
    assert reason in done.stderr


def test_a_named_pipe_that_is_written_late(tmp_path: Path):
    """A writer that comes after the reader, and writes in pieces, is waited for."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(
        [sys.executable, "-m", "tokengrpc", "config", "--config", str(pipe)], stdout=subprocess.PIPE
    )
    with pipe.open("w") as writer:  # waits for the reader
        for piece in SETTINGS.splitlines(keepends=True):
            writer.write(piece)
            writer.flush()
    out, _ = reader.communicate(timeout=60)
    assert reader.returncode == 0
    assert b'default_model = "m"' in out


@pytest.mark.parametrize(
    "line",
    [
        "config --config /dev/stdin < {file}",
        "config --config /dev/stdin <<'END'\n{settings}END\n",
    ],
)
def test_standard_input(tmp_path: Path, line: str):
    """Settings may come from standard input."""
    file = tmp_path / "a.toml"
    file.write_text(SETTINGS)
    done = shell(line.format(file=file, settings=SETTINGS))
    assert (done.returncode, 'default_model = "m"' in done.stdout) == (0, True)


def test_a_pipe():
    """Settings may come from another process, as with `<(…)` in a shell."""
    done = tokengrpc("config", "--config", "/dev/stdin", stdin=SETTINGS.encode())
    assert (done.returncode, 'default_model = "m"' in done.stdout) == (0, True)
