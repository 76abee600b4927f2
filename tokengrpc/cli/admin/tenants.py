"""`tokengrpc tenants`: tenants of the server's database, their limits, and the audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from tokenstreaming.v1 import admin_service_pb2 as pb

from tokengrpc.cli.admin import limits
from tokengrpc.cli.admin.calls import call, show
from tokengrpc.cli.endpoint import Endpoint, with_endpoint
from tokengrpc.cli.options import INT64, JSON, between
from tokengrpc.cli.output import write, write_json

if TYPE_CHECKING:
    from tokengrpc.client.admin import Admin

NAME = typer.Argument(..., metavar="NAME", hidden=True)
LIMIT = typer.Option(
    100, "--limit", metavar="N", callback=between(1, INT64), help="The maximum number of lines."
)

tenants = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    help="Change tenants and their limits.\n\nNeeds a key with the scope admin.",
)


@tenants.command("list")
@with_endpoint
def list_tenants(*, endpoint: Endpoint, limit: int = LIMIT, json: bool = JSON) -> int:
    """List tenants by name."""
    from tokengrpc.cli.admin.printing import print_tenants  # noqa: PLC0415 - other commands do not need it

    async def work(admin: Admin) -> None:
        await show(admin.tenants(), limit, json=json, show_table=print_tenants)

    return call(endpoint, work)


@tenants.command("show")
@with_endpoint
def show_tenant(name: str = NAME, *, endpoint: Endpoint, json: bool = JSON) -> int:
    """Show a tenant, and how far its budgets are used."""
    from tokengrpc.cli.admin.printing import print_tenant  # noqa: PLC0415 - as above

    async def work(admin: Admin) -> None:
        found = await admin.get_tenant(name)
        if json:
            write_json(found)
        else:
            print_tenant(found.tenant, found.budget_statuses)

    return call(endpoint, work)


@tenants.command()
@with_endpoint
def create(
    name: str = NAME,
    *,
    endpoint: Endpoint,
    model: list[str] = limits.MODEL,
    priority_ceiling: str = limits.CEILING,
    max_generations: int = limits.GENERATIONS,
    requests_per_minute: int = limits.REQUESTS,
    tokens_per_minute: int = limits.TOKENS,
    max_output_tokens: int = limits.OUTPUT,
    weight: int = limits.WEIGHT,
    model_limit: list[str] = limits.MODEL_LIMIT,
    budget: list[str] = limits.BUDGET,
    json: bool = JSON,
) -> int:
    """Create a tenant.

    NAME has 1 to 64 letters, digits, dots, underscores and hyphens. It never changes.
    """
    fields = limits.limits_of(
        models=model,
        priority_ceiling=priority_ceiling,
        max_generations=max_generations,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        max_output_token_count=max_output_tokens,
        weight=weight,
        model_limits=model_limit,
        budgets=budget,
    )

    async def work(admin: Admin) -> None:
        _show(await admin.create_tenant(pb.Tenant(name=name, **fields)), json=json)

    return call(endpoint, work)


@tenants.command()
@with_endpoint
def update(
    name: str = NAME,
    *,
    endpoint: Endpoint,
    model: list[str] = limits.MODEL,
    priority_ceiling: str = limits.CEILING,
    max_generations: int = limits.GENERATIONS,
    requests_per_minute: int = limits.REQUESTS,
    tokens_per_minute: int = limits.TOKENS,
    max_output_tokens: int = limits.OUTPUT,
    weight: int = limits.WEIGHT,
    model_limit: list[str] = limits.MODEL_LIMIT,
    budget: list[str] = limits.BUDGET,
    clear: list[str] = limits.CLEAR,
    json: bool = JSON,
) -> int:
    """Change the limits of a tenant that are named.

    A flag that may be repeated replaces its whole list. Running generations keep what they began with.
    """
    fields = limits.limits_of(
        models=model,
        priority_ceiling=priority_ceiling,
        max_generations=max_generations,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        max_output_token_count=max_output_tokens,
        weight=weight,
        model_limits=model_limit,
        budgets=budget,
    )
    limits.check_cleared(clear, fields)
    names = [*fields, *(limits.CLEARED[word] for word in clear)]
    if not names:
        raise typer.BadParameter("nothing is to be changed: pass a limit, or --clear")

    async def work(admin: Admin) -> None:
        _show(await admin.update_tenant(pb.Tenant(name=name, **fields), names), json=json)

    return call(endpoint, work)


@tenants.command()
@with_endpoint
def delete(name: str = NAME, *, endpoint: Endpoint) -> int:
    """Delete a tenant and revoke its keys.

    Generations that are running go on, and the tenant's usage is kept.
    """

    async def work(admin: Admin) -> None:
        await admin.delete_tenant(name)
        write(f"deleted {name}", end="\n")

    return call(endpoint, work)


@tenants.command()
@with_endpoint
def audit(
    *,
    endpoint: Endpoint,
    tenant: str = typer.Option("", "--tenant", metavar="NAME", help="Only changes of this tenant."),
    limit: int = LIMIT,
    json: bool = JSON,
) -> int:
    """List changes of tenants and keys, newest first: who made them, when, and what they were."""
    from tokengrpc.cli.admin.printing import print_changes  # noqa: PLC0415 - as above

    async def work(admin: Admin) -> None:
        await show(admin.audit(tenant=tenant), limit, json=json, show_table=print_changes)

    return call(endpoint, work)


def _show(tenant: pb.Tenant, *, json: bool) -> None:
    from tokengrpc.cli.admin.printing import print_tenant  # noqa: PLC0415 - as above

    if json:
        write_json(tenant)
    else:
        print_tenant(tenant)
