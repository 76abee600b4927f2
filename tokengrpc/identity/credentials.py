"""The kinds of credentials, and how a call's credential is read. This is the one place that tells them apart.

A call has one credential: the first metadata entry `authorization`, whatever is in it. Only a call without
any such entry may use the certificate of its connection instead, because that one is the same for all callers
behind a proxy. The kind follows from the form alone, never from whether the credential is valid: so one that
is not valid is refused, and no other authenticator gets to see it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tokengrpc.core.ports.auth import CredentialKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.core.ports.auth import Peer

ALL_KINDS = frozenset(CredentialKind)
BEARER_KINDS = frozenset({CredentialKind.JWT, CredentialKind.DATABASE_KEY, CredentialKind.KEY})
"""Kinds that are sent as `authorization: Bearer TOKEN`."""

DATABASE_KEY_PREFIX = "tg_"

# Three parts, of which the first is a JSON object in base64url: `{"`, or `{` and a blank or line end.
_JWT = re.compile(r"e[wy][\w-]*\.[\w-]*\.[\w-]*", re.ASCII)


def bearer_token(metadata: Sequence[tuple[str, str | bytes]]) -> str:
    """Returns the token of `authorization: Bearer TOKEN`; empty if the call has none, or another scheme."""
    value = next((value for name, value in metadata if name == "authorization"), "")
    if isinstance(value, bytes):
        return ""
    scheme, _, token = value.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def kind_of(metadata: Sequence[tuple[str, str | bytes]], peer: Peer) -> CredentialKind:
    """Returns the kind of a call's credential."""
    if not any(name == "authorization" for name, _ in metadata):
        return CredentialKind.CERTIFICATE if peer.certificate_names else CredentialKind.NONE
    token = bearer_token(metadata)
    if not token:
        return CredentialKind.OTHER
    if token.startswith(DATABASE_KEY_PREFIX):
        return CredentialKind.DATABASE_KEY
    return CredentialKind.JWT if _JWT.fullmatch(token) else CredentialKind.KEY
