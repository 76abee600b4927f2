"""The live screen: until a key ends it, news of servers, keys and new sizes are shown at once."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from tokengrpc.cli import exits
from tokengrpc.cli.sparkline import can_encode
from tokengrpc.cli.top.screen import terminal
from tokengrpc.cli.top.screen.layout import Screen
from tokengrpc.cli.top.screen.view import View, press
from tokengrpc.cli.top.servers.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokengrpc.cli.top.servers.polling import Address

_CLOCK = 1.0
"""Seconds after which the screen is drawn again if nothing has happened."""

_IDLE = 4.0
"""Pause after drawing the screen, as a multiple of the time that drawing took. A key ends it."""


def is_possible() -> bool:
    """Returns whether there is a terminal that can show it."""
    return terminal.is_capable()


def show(addresses: Mapping[str, Address], interval: float) -> int:
    """Shows servers until the user quits, and returns the exit code.

    Ctrl-C raises KeyboardInterrupt, and a terminal that is closed OSError.
    """
    shown = terminal.Terminal()
    watch = Watch(addresses, interval, shown.notify)
    view = View()
    try:
        with shown:
            watch.start()
            while not view.quit:
                began = time.monotonic()
                watch.take()
                columns, rows = shown.size
                made = watch.recent(minute=view.minute)
                screen = Screen.of(watch, made, width=columns, encoding=_encoding())
                lines, view = screen.lines(view, rows)
                shown.draw(lines)
                for key in _keys(shown, pause=_IDLE * (time.monotonic() - began)):
                    view = press(view, key)
    except terminal.Terminated:
        return exits.TERMINATED
    finally:
        watch.stop()
    return exits.OK


def _keys(shown: terminal.Terminal, pause: float) -> list[str]:
    """Waits for keys, or for news and at least `pause` seconds: news of many servers come one by one."""
    end = time.monotonic() + pause
    keys = shown.wait(_CLOCK)
    while not keys and (left := end - time.monotonic()) > 0:
        keys = shown.wait(left)
    return keys


def _encoding() -> str:
    """Returns the encoding of the terminal: the locale's, or Python's if that has fewer characters."""
    ours = sys.stdout.encoding
    return terminal.encoding() if can_encode("…", ours) else ours
