"""The terminal, by curses: draws lines, and waits for keys, new sizes and news of other threads."""

from __future__ import annotations

import curses
import locale
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from tokengrpc.cli.output import styles_disabled
from tokengrpc.cli.top.screen.table import Style

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType, TracebackType

    from tokengrpc.cli.top.screen.table import Line

_ESCAPE_DELAY = 25
"""Milliseconds in which the rest of a key's sequence must follow its escape character."""
_NAMES = {
    "\n": "KEY_ENTER",
    "\r": "KEY_ENTER",
    "\x1b": "KEY_ESC",
    "\x7f": "KEY_BACKSPACE",
    "\b": "KEY_BACKSPACE",
}


class Terminated(Exception):
    """SIGTERM."""


def is_capable() -> bool:
    """Returns whether stdin and stdout are a terminal whose cursor can be moved."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    try:
        curses.setupterm()
    except curses.error:  # the type of the terminal is unknown
        return False
    return curses.tigetstr("cup") is not None


def encoding() -> str:
    """Returns the encoding of what curses writes, which the locale decides."""
    return locale.nl_langinfo(locale.CODESET)


class Terminal:
    """The whole screen of the terminal, from entering a `with` block to leaving it, however that happens.

    SIGTERM raises Terminated, Ctrl-C KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self._wakes, self._woken = socket.socketpair()
        for end in (self._wakes, self._woken):
            end.setblocking(False)
        self._styles: dict[Style, int] = {}

    def __enter__(self) -> Self:
        # Before curses looks for handlers, so that it leaves these signals alone.
        signal.signal(signal.SIGTERM, _raise_terminated)
        signal.signal(signal.SIGWINCH, lambda *_: None)
        signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        self._window = curses.initscr()
        try:
            self._set_up()
        except BaseException:  # such as Ctrl-C
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        signal.set_wakeup_fd(-1)
        with suppress(curses.error):
            curses.curs_set(1)
        curses.endwin()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        rows, columns = self._window.getmaxyx()
        return columns, rows

    def notify(self) -> None:
        """Ends `wait`. Any thread may call this."""
        with suppress(BlockingIOError):  # it is woken already
            self._wakes.send(b"\0")

    def draw(self, lines: Sequence[Line]) -> None:
        """Shows lines, from the top of the screen. Only what has changed is sent to the terminal."""
        self._window.erase()
        named = encoding()
        with suppress(curses.error):  # curses writes the last cell of a screen, then fails to move on
            for number, line in enumerate(lines):
                self._window.move(number, 0)
                for text, style in line:
                    encodable = text.encode(named, "replace").decode(named)
                    self._window.addstr(encodable, self._styles.get(style, curses.A_NORMAL))
        self._window.refresh()

    def wait(self, seconds: float) -> list[str]:
        """Waits until something happens, or for so long. Returns the keys that were pressed.

        A key is a character, or curses' name for it. Raises OSError if the terminal is closed.
        """
        ready, _, _ = select.select([sys.stdin, self._woken], [], [], seconds)
        if self._woken in ready:
            with suppress(BlockingIOError):
                while self._woken.recv(4096):
                    pass
        self._adapt()
        keys = []
        while (key := self._key()) is not None:
            keys.append(key)
        return keys

    def _key(self) -> str | None:
        try:
            key = self._window.get_wch()
        except curses.error:
            return None
        if isinstance(key, int):
            return _NAMES.get(name, name) if (name := curses.keyname(key).decode()) else None
        return _NAMES.get(key, key)

    def _adapt(self) -> None:
        """Takes the terminal's size, if it has changed. Raises OSError if the terminal is closed."""
        columns, rows = os.get_terminal_size(sys.stdout.fileno())
        if (columns, rows) != self.size and columns and rows:
            curses.resizeterm(rows, columns)
            self._window.clear()

    def _set_up(self) -> None:
        curses.set_escdelay(_ESCAPE_DELAY)
        curses.noecho()
        curses.cbreak()
        self._window.keypad(True)
        self._window.nodelay(True)
        with suppress(curses.error):  # not every terminal can hide its cursor
            curses.curs_set(0)
        if not styles_disabled():
            self._set_styles()

    def _set_styles(self) -> None:
        self._styles = {
            Style.BOLD: curses.A_BOLD,
            Style.DIM: curses.A_DIM,
            Style.TITLE: curses.A_REVERSE,
            Style.ALERT: curses.A_BOLD,
        }
        with suppress(curses.error):
            curses.start_color()
            curses.use_default_colors()
            curses.init_pair(1, curses.COLOR_RED, -1)
            self._styles[Style.ALERT] |= curses.color_pair(1)


def _raise_terminated(_number: int, _frame: FrameType | None) -> None:
    raise Terminated
