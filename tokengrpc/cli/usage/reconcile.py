"""`tokengrpc usage reconcile`: compares the ledger with a provider's export of usage."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import typer

from tokengrpc.cli import exits
from tokengrpc.cli.endpoint import Endpoint, with_endpoint
from tokengrpc.cli.output import write, write_error
from tokengrpc.cli.session import Server, interruptible, run
from tokengrpc.cli.usage import options, statements
from tokengrpc.escaping import escape_line

if TYPE_CHECKING:
    from tokengrpc.cli.usage.statements import Tokens
    from tokengrpc.client import TokenStreamClient
    from tokengrpc.client.usage_requests import UsageFilters

_KEYS = {"", statements.RESPONSE_ID, "generation", "record"}
_FILE = typer.Argument(..., metavar="FILE", hidden=True)


@with_endpoint
def reconcile(
    file: str = _FILE,
    *,
    endpoint: Endpoint,
    by: str = typer.Option(
        "",
        "--by",
        metavar="WHAT",
        help="What the provider's ids are: response-id, generation, record or label:KEY. By default, "
        "response-id if the file has a column response_id, otherwise generation.",
    ),
    id_column: str = typer.Option(
        "",
        "--id-column",
        metavar="NAME",
        help="The column with the id. By default, response_id for --by response-id, otherwise request_id.",
    ),
    input_column: str = typer.Option(
        "", "--input-column", metavar="NAME", help="The column with the input tokens."
    ),
    output_column: str = typer.Option(
        "", "--output-column", metavar="NAME", help="The column with the output tokens."
    ),
    tenant: str = options.TENANT,
    model: str = options.MODEL,
    label: list[str] = options.LABEL,
    since: str = options.SINCE,
    until: str = options.UNTIL,
    zone: str = options.ZONE,
) -> int:
    """Compare usage with a provider's export.

    FILE is CSV or JSON Lines, in which a dot names a field inside an object. Prints each request whose input
    or output tokens differ, and exits with 1 if there is any.
    """
    if by not in _KEYS and not (by.startswith("label:") and by != "label:"):
        raise typer.BadParameter("must be response-id, generation, record or label:KEY", param_hint="--by")
    try:
        with open(file, encoding="utf-8", newline="") as lines:  # noqa: PTH123 - FILE may be /dev/stdin
            first = next(lines, "")
            by, id_column = statements.choose(first, by, id_column)
            stated = statements.read(
                chain((first,), lines), key=id_column, by=by, inputs=input_column, outputs=output_column
            )
    except (statements.StatementError, UnicodeDecodeError) as error:
        write_error(f"{file}: {error}")
        return exits.USAGE
    except OSError as error:
        write_error(f"{file} cannot be read: {error.strerror}")
        return exits.USAGE
    place = options.zone_of(zone)
    chosen = options.filters(
        tenant=tenant, model=model, generation="", label=label, since=since, until=until, zone=place
    )
    server = Server(endpoint)

    async def work() -> int:
        async with server.connect() as client:
            recorded = await interruptible(_recorded(client, by, chosen))
        found = statements.differences(recorded, stated)
        for one in found:
            write(
                f"{escape_line(one.key)}: ledger {_text(one.ledger)}; file {_text(one.statement)}", end="\n"
            )
        requests = len(recorded.keys() | stated.keys())
        write(f"{len(found)} of {requests} requests differ", end="\n")
        return exits.FAILURE if found else exits.OK

    return run(work(), server)


async def _recorded(client: TokenStreamClient, by: str, chosen: UsageFilters) -> dict[str, Tokens]:
    """Returns the tokens of records and attempts that have the key."""
    found: dict[str, Tokens] = {}
    async for record in client.usage.records(**chosen):
        for key, tokens in statements.keyed_tokens(record, by):
            found[key] = found.get(key, statements.Tokens()) + tokens
    return found


def _text(tokens: Tokens | None) -> str:
    if tokens is None:
        return "nothing"
    counts = (("input", tokens.input), ("output", tokens.output))
    return ", ".join(f"{count} {name}" for name, count in counts if count is not None)
