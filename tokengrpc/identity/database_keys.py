"""Authentication with keys of the database: `authorization: Bearer tg_…` is looked up by its hash."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tokengrpc.config import ConfigError
from tokengrpc.core.ports.auth import CredentialKind
from tokengrpc.errors import Unauthenticated
from tokengrpc.identity.api_keys import digest_of, is_well_formed
from tokengrpc.identity.credentials import bearer_token

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tokengrpc.config import Settings
    from tokengrpc.core.ports.auth import KeyLookup, Peer
    from tokengrpc.core.tenant import Identity


class DatabaseKeyAuthenticator:
    """Authenticator with the keys of a `KeyLookup`."""

    kinds = frozenset({CredentialKind.DATABASE_KEY})

    def __init__(self) -> None:
        self._keys: KeyLookup | None = None

    def use_keys(self, keys: KeyLookup) -> None:
        """See `LooksUpKeys`."""
        self._keys = keys

    async def start(self) -> None:
        """See `Authenticator`."""
        if self._keys is None:
            raise ConfigError(
                "authenticator: `database` needs a ledger with a database: set data_dir, or a ledger in "
                "sqlite or postgresql"
            )

    async def close(self) -> None:
        """See `Authenticator`."""

    async def authenticate(
        self,
        metadata: Sequence[tuple[str, str | bytes]],
        peer: Peer,  # noqa: ARG002 - keys are in the metadata
    ) -> Identity:
        """See `Authenticator`. A text that is no key is refused without looking it up."""
        key = bearer_token(metadata)
        if not is_well_formed(key):
            raise Unauthenticated(
                "the key is incomplete or mistyped: its checksum is wrong; copy all of it into the metadata "
                "`authorization: Bearer KEY`"
            )
        identity = await self._keys.find_key(digest_of(key)) if self._keys is not None else None
        if identity is None:
            raise Unauthenticated("the key is unknown, expired or revoked: use another one")
        return identity


def create(value: str, options: Mapping[str, Any], settings: Settings) -> DatabaseKeyAuthenticator:  # noqa: ARG001 - every plugin factory has this signature
    """Creates the authenticator `database`. Raises ConfigError for options, as it has none."""
    if options:
        raise ConfigError("plugins.database: the authenticator `database` has no settings")
    return DatabaseKeyAuthenticator()
