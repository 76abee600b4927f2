"""Commands on a real pseudo-terminal of a known size, and what a person would see on it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import threading
import unicodedata
from typing import Any, Self

import pyte

from tests.support.commands import PROGRAM, running, until

ROWS = 200
"""Rows of the emulated screen: enough that nothing scrolls out of it."""


def rendered(output: str, columns: int) -> list[str]:
    """Returns the lines that a terminal shows for an output, without spaces and empty lines at their end."""
    screen = pyte.Screen(columns, ROWS)
    screen.set_mode(pyte.modes.LNM)  # a line feed starts a line, as the driver of a terminal has it
    # In composed characters, because pyte moves a combining one after the last column to the next line.
    pyte.Stream(screen).feed(unicodedata.normalize("NFC", output))
    return "\n".join(line.rstrip() for line in screen.display).rstrip("\n").split("\n")


def shown(*arguments: str, columns: int, stdin: bytes = b"", **variables: str) -> list[str]:
    """Runs a command with stdout and stderr on one terminal, and returns the lines that it shows."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    environ = {"TERM": "xterm", "COLUMNS": "", **variables}
    streams: dict[str, Any] = {"stdout": theirs, "stderr": theirs}
    with running(*arguments, variables=environ, **streams) as process:
        os.close(theirs)
        assert process.stdin is not None
        process.stdin.write(stdin)
        process.stdin.close()
        output = bytearray()
        # Linux answers EIO once the last process has closed its side.
        while chunk := _read(ours):
            output += chunk
        process.wait()
        os.close(ours)
    return rendered(output.decode(), columns)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:
        return b""


class Terminal:
    """The controlling terminal of a command: its screen, its keys and its size.

    The emulated screen is that of a Linux console, whose sequences pyte knows all.
    """

    def __init__(
        self, *arguments: str, columns: int, rows: int, prefix: tuple[str, ...] = (), **variables: str
    ) -> None:
        """Takes the command's arguments and, in `prefix`, a program that runs it."""
        self._ours, theirs = pty.openpty()
        self._theirs = theirs
        self._set_size(columns, rows)
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._closed = False
        self.attributes = termios.tcgetattr(theirs)
        """Attributes of the terminal before the command."""
        self.output = b""
        """All that the command has written."""
        streams: dict[str, Any] = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
        environ = {"TERM": "linux", "COLUMNS": "", "LINES": "", **variables}
        self._running = running(
            *arguments, variables=environ, prefix=("setsid", "--ctty", *prefix, *PROGRAM), **streams
        )

    def __enter__(self) -> Self:
        self.process = self._running.__enter__()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._running.__exit__(*error)
        self.close()

    def close(self) -> None:
        """Closes the terminal, as a broken connection does: what runs on it gets a hangup."""
        if not self._closed:
            self._closed = True
            os.close(self._theirs)
            self._stopped.set()
            self._reader.join()
            os.close(self._ours)

    @property
    def lines(self) -> list[str]:
        """The lines that the terminal shows, without spaces at their end."""
        with self._lock:
            return [line.rstrip() for line in self._screen.display]

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Waits until the terminal shows text that matches a regular expression."""

        def found() -> re.Match[str] | None:
            return re.search(pattern, "\n".join(self.lines), re.MULTILINE)

        try:
            match: re.Match[str] = until(found, pattern)
        except AssertionError:
            sys.stderr.write("\n".join(self.lines))
            raise
        return match

    def press(self, keys: str) -> None:
        r"""Presses keys. `\x03` is Ctrl-C."""
        os.write(self._ours, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        """Changes the terminal's size, of which its kernel tells the command (SIGWINCH)."""
        with self._lock:
            self._screen.resize(rows, columns)
        self._set_size(columns, rows)

    def is_restored(self) -> bool:
        """Returns whether the terminal echoes, buffers lines, shows its cursor, as before the command."""
        with self._lock:
            return termios.tcgetattr(self._theirs) == self.attributes and not self._screen.cursor.hidden

    def _set_size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _read(self) -> None:
        while not self._stopped.is_set():
            ready, _, _ = select.select([self._ours], [], [], 0.05)
            chunk = _read(self._ours) if ready else b""
            with self._lock:
                self.output += chunk
                self._stream.feed(chunk)
