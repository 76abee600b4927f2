"""Options of the commands that read usage, and what they mean."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from tokengrpc.cli.options import INT64, between
from tokengrpc.cli.options import label as label_of

if TYPE_CHECKING:
    from datetime import tzinfo

    from tokengrpc.client.usage_requests import UsageFilters

_AGO = re.compile(r"(\d{1,6})([mhd])")
_AGO_UNITS = {"m": "minutes", "h": "hours", "d": "days"}

TENANT = typer.Option("", "--tenant", metavar="NAME", help="Only this tenant (for an admin).")
MODEL = typer.Option("", "--model", metavar="NAME", help="Only this model.")
BY = typer.Option(
    ["day"],
    "--by",
    metavar="WHAT",
    help="What to sum by: hour, day, month, tenant, model or label:KEY. May be repeated.",
)
GENERATION = typer.Option("", "--generation", metavar="ID", help="Only the generation with this id.")
LABEL = typer.Option([], "--label", metavar="KEY=VALUE", help="Only with this label. May be repeated.")
SINCE = typer.Option(
    "",
    "--since",
    metavar="TIME",
    help="Only generations from this time on: 2026-11-01, 2026-11-01T12:00, or an age: 30d, 12h, 15m.",
)
UNTIL = typer.Option("", "--until", metavar="TIME", help="Only generations before this time.")
ZONE = typer.Option(
    "UTC",
    "--zone",
    metavar="ZONE",
    help="The time zone of all times, such as Europe/Berlin.",
)
AFTER = typer.Option(
    None, "--after", metavar="SEQ", callback=between(0, INT64), help="Only entries after this sequence."
)
JSON = typer.Option(False, "--json", help="Print the contract's messages as JSON, one in a line.")
CSV = typer.Option(False, "--csv", help="Print comma-separated values, with a line of names.")


class Form(Enum):
    """How messages are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def form(*, json: bool, csv: bool) -> Form:
    """Returns the form that two switches choose. Raises BadParameter for both."""
    if json and csv:
        raise typer.BadParameter("cannot be combined with --json", param_hint="--csv")
    return Form.JSON if json else Form.CSV if csv else Form.TABLE


def zone_of(name: str) -> tzinfo:
    """Returns a time zone; UTC also where the machine knows no other. Raises BadParameter."""
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise typer.BadParameter(
            f"{name!r} is not a time zone of this machine: use a name such as UTC or Europe/Berlin",
            param_hint="--zone",
        ) from None


def filters(
    *, tenant: str, model: str, generation: str, label: list[str], since: str, until: str, zone: tzinfo
) -> UsageFilters:
    """Returns the filters that the options describe. Raises BadParameter."""
    found: UsageFilters = {"tenant": tenant, "model": model, "generation_id": generation}
    labels = dict(label_of(text) for text in label)
    if labels:
        found["labels"] = labels
    if since:
        found["since"] = _time(since, zone, "--since")
    if until:
        found["until"] = _time(until, zone, "--until")
    return found


def _time(text: str, zone: tzinfo, flag: str) -> datetime:
    if ago := _AGO.fullmatch(text):
        return datetime.now(UTC) - timedelta(**{_AGO_UNITS[ago[2]]: int(ago[1])})
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} must be a time such as 2026-11-01 or 2026-11-01T12:00, or an age such as 30d",
            param_hint=flag,
        ) from None
    return time if time.tzinfo is not None else time.replace(tzinfo=zone)
