"""`tokengrpc usage`: sums, records and entries of the usage ledger, exports and maintenance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import typer
from typer.core import TyperGroup

from tokengrpc.cli import exits
from tokengrpc.cli import options as shared
from tokengrpc.cli.endpoint import Endpoint, with_endpoint
from tokengrpc.cli.output import write_error, write_note
from tokengrpc.cli.session import Server, interruptible, run
from tokengrpc.cli.usage import options
from tokengrpc.cli.usage.export import export
from tokengrpc.cli.usage.maintenance import prune, reprice
from tokengrpc.cli.usage.reconcile import reconcile
from tokengrpc.client import TokenStreamError
from tokengrpc.client.usage_requests import summarize_request

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from tokengrpc.client import TokenStreamClient

_DEFAULT_SINCE = "30d"
_DEFAULT_LIMIT = 50
_UNSERVED = (
    "UNIMPLEMENTED: this server does not serve usage: its ledger cannot be read, or its version is too old"
)


class _SummaryByDefault(TyperGroup):
    """The group of the commands: without a command's name, the options are those of `summary`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - click's own type
        """See click's Command."""
        if not args or (args[0].startswith("-") and args[0] != "--help"):
            args = ["summary", *args]
        return super().parse_args(ctx, args)


usage = typer.Typer(
    cls=_SummaryByDefault,
    add_completion=False,
    rich_markup_mode=None,
    help="Read how many tokens were used.\n\nWithout the name of a command: `summary`.",
)


@usage.command()
@with_endpoint
def summary(
    *,
    endpoint: Endpoint,
    by: list[str] = options.BY,
    tenant: str = options.TENANT,
    model: str = options.MODEL,
    generation: str = options.GENERATION,
    label: list[str] = options.LABEL,
    since: str = options.SINCE,
    until: str = options.UNTIL,
    zone: str = options.ZONE,
    csv: bool = options.CSV,
    json: bool = options.JSON,
) -> int:
    """Sum usage by day or something else.

    By default, for each of the last 30 days. A terminal shows the tokens, input and output, as bars too.
    """
    from tokengrpc.cli.usage.printing import print_summary  # noqa: PLC0415 - most commands do not need it

    place = options.zone_of(zone)
    chosen = options.filters(
        tenant=tenant,
        model=model,
        generation=generation,
        label=label,
        since=since or _DEFAULT_SINCE,
        until=until,
        zone=place,
    )
    form = options.form(json=json, csv=csv)
    timed = not {"hour", "day", "month"}.isdisjoint(by)
    try:
        summarize_request(by, "")
    except ValueError as error:
        raise typer.BadParameter(str(error).removeprefix("by: "), param_hint="--by") from None

    async def call(client: TokenStreamClient) -> None:
        found = await client.usage.summarize(by, zone=zone if timed else "", **chosen)
        print_summary(found, by, place, form)

    return _call(endpoint, call)


@usage.command("list")
@with_endpoint
def list_records(
    *,
    endpoint: Endpoint,
    limit: int = typer.Option(
        None,
        "--limit",
        metavar="N",
        callback=shared.between(1, shared.INT64),
        help=f"The maximum number of generations; without it, {_DEFAULT_LIMIT} in a table, otherwise all.",
    ),
    tenant: str = options.TENANT,
    model: str = options.MODEL,
    generation: str = options.GENERATION,
    label: list[str] = options.LABEL,
    since: str = options.SINCE,
    until: str = options.UNTIL,
    zone: str = options.ZONE,
    csv: bool = options.CSV,
    json: bool = options.JSON,
) -> int:
    """List generations, newest first."""
    from tokengrpc.cli.usage.printing import print_records  # noqa: PLC0415 - as above

    place = options.zone_of(zone)
    chosen = options.filters(
        tenant=tenant,
        model=model,
        generation=generation,
        label=label,
        since=since,
        until=until,
        zone=place,
    )
    form = options.form(json=json, csv=csv)
    most = limit or (_DEFAULT_LIMIT if form is options.Form.TABLE else None)

    async def call(client: TokenStreamClient) -> None:
        await print_records(client.usage.records(**chosen), most, place, form)

    return _call(endpoint, call)


@usage.command()
@with_endpoint
def entries(
    *,
    endpoint: Endpoint,
    after: int | None = options.AFTER,
    follow: bool = typer.Option(
        False,
        "--follow",
        help="Go on: print new entries as they are written, only these without --after.",
    ),
    tenant: str = options.TENANT,
    zone: str = options.ZONE,
    csv: bool = options.CSV,
    json: bool = options.JSON,
    patience: float = shared.PATIENCE,
) -> int:
    """Print the ledger's entries in order.

    Each change of a generation's record is an entry. The sequence of an entry never changes, so --after
    continues where an earlier command ended; --after 0 is the beginning of the ledger.
    """
    from tokengrpc.cli.usage.printing import EntryPrinter  # noqa: PLC0415 - as above

    printer = EntryPrinter(options.zone_of(zone), options.form(json=json, csv=csv))

    async def call(client: TokenStreamClient) -> None:
        usage = client.usage
        if not follow:
            async for entry in usage.entries(after=after or 0, tenant=tenant):
                printer.print(entry)
            return
        if after is None:
            place = await usage.newest_sequence(tenant=tenant)
            write_note(f"new entries after {place} are printed; --after 0 begins with the first")
        else:
            place = after
        try:
            async for entry in usage.follow(after=place, tenant=tenant):
                printer.print(entry)
                place = entry.sequence
        finally:
            write_note(f"continue with --after {place}")

    return _call(endpoint, call, patience)


usage.command()(export)
usage.command()(reconcile)
usage.command()(reprice)
usage.command()(prune)


def _call(
    endpoint: Endpoint,
    call: Callable[[TokenStreamClient], Coroutine[Any, Any, None]],
    patience: float = 0.0,
) -> int:
    """Makes calls with a connected client, and returns the exit code."""
    server = Server(endpoint, patience)

    async def work() -> int:
        try:
            async with server.connect() as client:
                await interruptible(call(client))
        except TokenStreamError as error:
            if error.code is not grpc.StatusCode.UNIMPLEMENTED:
                raise
            write_error(_UNSERVED)
            return exits.FAILURE
        return exits.OK

    return run(work(), server)
