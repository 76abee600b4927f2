"""`tokengrpc top`: a view of servers by their admin ports: live, once, or as JSON for scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import typer

from tokengrpc.cli import exits
from tokengrpc.cli.options import between

if TYPE_CHECKING:
    from tokengrpc.cli.top.servers.polling import Address

DEFAULT_ADMIN = "127.0.0.1:9090"
ADMIN = typer.Option(
    [DEFAULT_ADMIN],
    "--admin",
    metavar="HOST:PORT",
    help="The admin port of a server (its --admin-listen). May be repeated: figures are then added up.",
)
SETTINGS = {"epilog": "While it runs, q quits and ? lists the other keys."}


def _addresses(texts: list[str]) -> dict[str, Address]:
    """Returns the addresses by the text that names them. Raises BadParameter."""
    from tokengrpc.cli.top.servers.polling import Address  # noqa: PLC0415 - as in `top`

    found = {}
    for text in texts:
        try:
            parts = urlsplit(f"//{text}")
            host, port = parts.hostname, parts.port
        except ValueError:  # the port is no number
            host = port = None
        if not host or not port or parts.netloc != text or parts.username is not None:
            raise typer.BadParameter(f"must be HOST:PORT, such as {DEFAULT_ADMIN}", param_hint="--admin")
        found[text] = Address(host, port)
    return found


def top(
    *,
    admin: list[str] = ADMIN,
    interval: float = typer.Option(
        1.0,
        "--interval",
        metavar="SECONDS",
        callback=between(0.1, 3600),
        help="The time between two looks at a server.",
    ),
    once: bool = typer.Option(False, "--once", help="Show what happens within one interval, and exit."),
    json: bool = typer.Option(False, "--json", help="Print a line of JSON for each interval."),
) -> int:
    """Watch the load of servers live.

    Shows streams, tokens per second, latencies, queues, circuit breakers and errors, as the servers' admin
    ports report them. Without a terminal, tables are printed.
    """
    # Imported here because the imports take 50 ms, and the help of all commands does not need them.
    from tokengrpc.cli.top.printing import print_reports  # noqa: PLC0415 - see above

    addresses = _addresses(admin)
    try:
        if not once and not json and (code := _show_live(addresses, interval)) is not None:
            return code
        return print_reports(addresses, interval, once=once, as_json=json)
    except KeyboardInterrupt:
        return exits.INTERRUPTED


def _show_live(addresses: dict[str, Address], interval: float) -> int | None:
    """Shows a live screen and returns the exit code; None if there is no terminal that could show it."""
    try:
        from tokengrpc.cli.top import live  # noqa: PLC0415 - needs curses
    except ImportError:  # Windows has no curses
        return None
    return live.show(addresses, interval) if live.is_possible() else None
