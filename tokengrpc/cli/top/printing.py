"""Reports in a pipe, a file or a terminal without a cursor: tables, or lines of JSON."""

from __future__ import annotations

import json
import sys
import time
from itertools import count
from typing import TYPE_CHECKING

from tokengrpc.cli import exits
from tokengrpc.cli.output import terminal_width, write, write_error
from tokengrpc.cli.top.as_json import to_json
from tokengrpc.cli.top.screen.layout import Screen
from tokengrpc.cli.top.screen.view import View
from tokengrpc.cli.top.servers.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokengrpc.cli.top.servers.polling import Address

_WIDTH = 120
"""Columns of a table that no terminal shows."""


def print_reports(addresses: Mapping[str, Address], interval: float, *, once: bool, as_json: bool) -> int:
    """Prints what happens within each interval, or within one, and returns the exit code.

    That is 1 if, at the end of one interval, no server can be reached. Errors of writing are raised.
    """
    watch = Watch(addresses, interval)
    watch.start()
    try:
        for polled in count(2):
            watch.wait_polled(polled)
            _print(watch, as_json=as_json)
            if once:
                break
            if not as_json:
                write("\n")
    finally:
        watch.stop()
    missing = [history for history in watch.histories if history.sample is None]
    for history in missing:
        write_error(
            f"{history.address} cannot be reached ({history.error}): start the server with --admin-listen, "
            "or pass another address with --admin"
        )
    return exits.FAILURE if len(missing) == len(watch.histories) else exits.OK


def _print(watch: Watch, *, as_json: bool) -> None:
    made = watch.last()
    if as_json:
        write(json.dumps(to_json(made, watch.histories, time.time()), ensure_ascii=False), end="\n")
        return
    width = terminal_width() or _WIDTH
    screen = Screen.of(watch, made, width=width, encoding=sys.stdout.encoding)
    for line in screen.plain(View()):
        write("".join(text for text, _ in line).rstrip(), end="\n")
