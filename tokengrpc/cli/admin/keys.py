"""`tokengrpc keys`: keys of the tenants in the server's database."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import typer
from google.protobuf.timestamp_pb2 import Timestamp
from tokenstreaming.v1 import admin_service_pb2 as pb

from tokengrpc.cli.admin.bootstrap import bootstrap
from tokengrpc.cli.admin.calls import call, show
from tokengrpc.cli.admin.tenants import LIMIT
from tokengrpc.cli.endpoint import Endpoint, with_endpoint
from tokengrpc.cli.options import JSON
from tokengrpc.cli.output import write, write_json, write_note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.client.admin import Admin

_KEY = re.compile(r"tg_[0-9A-Za-z]{1,8}")
"""What is shown of a key."""
_DAYS = re.compile(r"(\d{1,5})d")
_SCOPES = {
    "generate": pb.SCOPE_GENERATE,
    "read_usage": pb.SCOPE_READ_USAGE,
    "admin": pb.SCOPE_ADMIN,
}

_SCOPE = typer.Option(
    [],
    "--scope",
    metavar="SCOPE",
    help="generate, read_usage or admin; without it, the first two. May be repeated.",
)

keys = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    help="Create, list and revoke keys.\n\nAll but bootstrap need a key with the scope admin.",
)


@keys.command()
@with_endpoint
def create(
    tenant: str = typer.Argument(..., metavar="TENANT", hidden=True),
    *,
    endpoint: Endpoint,
    name: str = typer.Option("", "--name", metavar="TEXT", help="What the key is for."),
    scope: list[str] = _SCOPE,
    expires: str = typer.Option(
        "", "--expires", metavar="TIME", help="2026-12-31, 2026-12-31T12:00 (UTC), or in days: 90d."
    ),
    json: bool = JSON,
) -> int:
    """Create a key of TENANT.

    Prints the key alone to stdout. It cannot be shown again: the server keeps only a hash of it.
    """
    scopes, time = _scopes(scope), _expiry(expires)

    async def work(admin: Admin) -> None:
        made = await admin.create_key(tenant, display_name=name, scopes=scopes, expire_time=time)
        if json:
            write_json(made)
        else:
            write(made.key, end="\n")
            write_note(f"key {made.api_key.id} of {tenant}: keep it now, it cannot be shown again")

    return call(endpoint, work)


@keys.command("list")
@with_endpoint
def list_keys(
    *,
    endpoint: Endpoint,
    tenant: str = typer.Option("", "--tenant", metavar="NAME", help="Only keys of this tenant."),
    prefix: str = typer.Option(
        "", "--prefix", metavar="TEXT", help="Only keys that begin so, such as one that was found in a log."
    ),
    limit: int = LIMIT,
    json: bool = JSON,
) -> int:
    """List keys, newest first, without the keys themselves."""
    from tokengrpc.cli.admin.printing import print_keys  # noqa: PLC0415 - other commands do not need it

    async def work(admin: Admin) -> None:
        found = admin.keys(tenant=tenant, prefix=prefix)
        await show(found, limit, json=json, show_table=print_keys)

    return call(endpoint, work)


@keys.command()
@with_endpoint
def revoke(
    key_id: str = typer.Argument(..., metavar="ID", hidden=True),
    *,
    endpoint: Endpoint,
    json: bool = JSON,
) -> int:
    """Revoke a key, on all servers within a second.

    ID is the key's id, which `tokengrpc keys list` prints.
    """
    if shown := _KEY.match(key_id):
        # A key is not sent anywhere, nor shown again.
        find = f"tokengrpc keys list --prefix {shown[0]}"
        raise typer.BadParameter(f"it is the beginning of a key: find its id with `{find}`", param_hint="ID")

    async def work(admin: Admin) -> None:
        revoked = await admin.revoke_key(key_id)
        if json:
            write_json(revoked)
        else:
            write(f"revoked {revoked.prefix}… of {revoked.tenant}", end="\n")

    return call(endpoint, work)


keys.command()(bootstrap)


def _scopes(words: Sequence[str]) -> list[pb.Scope]:
    for word in words:
        if word not in _SCOPES:
            raise typer.BadParameter(f"{word!r} must be generate, read_usage or admin", param_hint="--scope")
    return [_SCOPES[word] for word in words]


def _expiry(text: str) -> Timestamp | None:
    if not text:
        return None
    if days := _DAYS.fullmatch(text):
        time = datetime.now(UTC) + timedelta(days=int(days[1]))
    else:
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            raise typer.BadParameter(
                f"{text!r} must be a time such as 2026-12-31 or 2026-12-31T12:00, or days such as 90d",
                param_hint="--expires",
            ) from None
        time = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    made = Timestamp()
    made.FromDatetime(time)
    return made
