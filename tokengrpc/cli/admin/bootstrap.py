"""`tokengrpc keys bootstrap`: the first admin key, made in the database that the settings name."""

from __future__ import annotations

import os
import time
from pathlib import Path

import typer

from tokengrpc.cli import exits
from tokengrpc.cli.output import write, write_error, write_note
from tokengrpc.extras import MissingExtraError, require


def bootstrap(
    *,
    tenant: str = typer.Option("admin", "--tenant", metavar="NAME", help="The tenant of the key."),
    force: bool = typer.Option(False, "--force", help="Make a key even if there is an admin key already."),
    config: str = typer.Option(
        "", "--config", metavar="FILE", help="The server's settings file (or TOKENGRPC_CONFIG)."
    ),
) -> int:
    """Make the first admin key, without a server.

    Works on the ledger's database, which the settings name, and creates it if there is none. The server may
    run meanwhile. Prints the key alone to stdout; it cannot be shown again.
    """
    try:
        require("server", "this command")
    except MissingExtraError as error:
        write_error(str(error))
        return exits.FAILURE
    # Imported here because client commands never import the server's modules.
    from tokengrpc.config import ConfigError, load  # noqa: PLC0415 - see above
    from tokengrpc.core.tenant import ALL_SCOPES  # noqa: PLC0415 - see above
    from tokengrpc.errors import TokenGrpcError  # noqa: PLC0415 - see above
    from tokengrpc.identity.api_keys import created_key  # noqa: PLC0415 - see above
    from tokengrpc.stores.sql.first_key import store_admin_key  # noqa: PLC0415 - see above

    try:
        settings = load(Path(config) if config else None, os.environ, {})
        described, key = created_key(tenant, ALL_SCOPES, time.time_ns(), display_name="bootstrap")
        store_admin_key(settings, described, force=force)
    except ConfigError as error:
        write_error(str(error))
        return exits.USAGE
    except TokenGrpcError as error:
        write_error(error.message)
        return exits.FAILURE
    write(key, end="\n")
    write_note(f"an admin key of the tenant {tenant}: keep it now, it cannot be shown again")
    if "database" not in settings.authenticators:
        write_note(
            'no server takes it until its authenticator names database: authenticator = ["database", …]'
        )
    return exits.OK
