"""`tokengrpc usage reprice` and `prune`: work on the ledger's database, which the settings name."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tokengrpc.cli import exits
from tokengrpc.cli.output import write, write_error
from tokengrpc.extras import MissingExtraError, require

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.stores.sql.maintenance import Maintenance

_CONFIG = typer.Option(
    "", "--config", metavar="FILE", help="The server's settings file (or TOKENGRPC_CONFIG)."
)
_DRY_RUN = typer.Option(False, "--dry-run", help="Change nothing, and say what would change.")


def reprice(
    *,
    since: str = typer.Option(
        ..., "--since", metavar="DATE", help="The first day, in UTC, whose records are priced again."
    ),
    dry_run: bool = _DRY_RUN,
    config: str = _CONFIG,
) -> int:
    """Apply the current prices to past records.

    Each changed cost becomes an ADJUST entry with the cost before it. Records without a price keep their
    cost. A second run changes nothing. The server may run meanwhile.
    """
    start_ns = _day(since, "--since")

    def work(ledger: Maintenance) -> None:
        count, change = ledger.reprice(start_ns, dry_run=dry_run)
        verb = "would change" if dry_run else "changed"
        amounts = ", ".join(
            f"{amount:+d} millionths {currency}" for currency, amount in sorted(change.items())
        )
        write(f"{verb} the cost of {count} records" + (f": {amounts}" if amounts else ""), end="\n")

    return _run(config, work)


def prune(
    *,
    before: str = typer.Option(
        "", "--before", metavar="DATE", help="The first day, in UTC, whose records are kept."
    ),
    tenant: str = typer.Option("", "--tenant", metavar="NAME", help="Only records of this tenant."),
    dry_run: bool = _DRY_RUN,
    config: str = _CONFIG,
) -> int:
    """Remove old records, and keep their sums.

    Sums are kept for each hour, tenant and model, so summaries stay as they were, except by label. Export
    the entries first: they cannot be brought back. The server may run meanwhile.
    """
    if not (before or tenant):
        raise typer.BadParameter("pass --before DATE, --tenant NAME or both", param_hint="--before")
    end_ns = _day(before, "--before") if before else None

    def work(ledger: Maintenance) -> None:
        count = ledger.prune(end_ns, tenant, dry_run=dry_run)
        write(f"{'would remove' if dry_run else 'removed'} {count} records", end="\n")

    return _run(config, work)


def _day(text: str, flag: str) -> int:
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise typer.BadParameter("must be a date such as 2026-01-31", param_hint=flag) from None
    return int(day.timestamp()) * 1_000_000_000


def _run(config: str, work: Callable[[Maintenance], None]) -> int:
    """Does work on the ledger's database. Failures are reported in one line."""
    try:
        require("server", "this command")
    except MissingExtraError as error:
        write_error(str(error))
        return exits.FAILURE
    # Imported here because client commands never import the server's modules.
    from tokengrpc.config import ConfigError, load  # noqa: PLC0415 - see above
    from tokengrpc.errors import StoreUnavailable  # noqa: PLC0415 - see above
    from tokengrpc.stores.sql import maintenance  # noqa: PLC0415 - see above

    try:
        settings = load(Path(config) if config else None, os.environ, {})
        with maintenance.opened(settings) as ledger:
            work(ledger)
    except ConfigError as error:
        write_error(str(error))
        return exits.USAGE
    except StoreUnavailable as error:
        write_error(error.message)
        return exits.FAILURE
    return exits.OK
