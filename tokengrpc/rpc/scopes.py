"""The scopes that callers need, by service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokengrpc.core.tenant import Scope
from tokengrpc.errors import AdminRequired, ScopeRequired

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokengrpc.core.tenant import Identity

SCOPES: Mapping[str, tuple[Scope, ...]] = {
    "tokenstreaming.v1.AdminService": (Scope.ADMIN,),
    "tokenstreaming.v1.TokenStream": (Scope.GENERATE,),
    "tokenstreaming.v1.UsageService": (Scope.READ_USAGE, Scope.ADMIN),
}
"""By the full name of the service. Each of its scopes suffices."""


def check_scopes(identity: Identity, scopes: tuple[Scope, ...]) -> None:
    """Raises AdminRequired or ScopeRequired if a caller has none of the scopes. Empty: nobody needs one."""
    if not scopes or any(identity.may(scope) for scope in scopes):
        return
    if scopes == (Scope.ADMIN,):
        raise AdminRequired("only an admin may make this call: use the credential of one")
    raise ScopeRequired(
        f"the credential lacks the scope `{scopes[0]}`, which this call needs: use another credential",
        metadata={"scope": scopes[0]},
    )
