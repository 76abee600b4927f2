"""Tenants that exist only because tokens name them, with the limits of a template."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.core.tenant import Tenant

RECHECK_TIME = 0.5
"""Seconds for which a tenant is not looked up again. One of this name that is created counts after them."""

_MAX_KEPT = 10_000
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


class CreatedTenants:
    """Tenants of a template, by name. Those that were created lately are kept.

    To find out that there is no tenant of a name, the directory waits for a look at its database. That is for
    unknown names, which are rare. Here they are the rule.
    """

    def __init__(self, template: Tenant, now: Callable[[], float]) -> None:
        """Takes the template, and a clock in seconds."""
        self._template = template
        self._now = now
        self._kept: dict[str, tuple[Tenant, float]] = {}

    def recent(self, name: str) -> Tenant | None:
        """Returns the tenant of a name if it was created within `RECHECK_TIME`."""
        tenant, until = self._kept.get(name, (None, 0.0))
        return tenant if self._now() < until else None

    def create(self, name: str) -> Tenant | None:
        """Returns a tenant with the limits of the template; None if the name is not one for a tenant."""
        if not _NAME.fullmatch(name):
            return None
        if len(self._kept) >= _MAX_KEPT:
            self._kept.clear()
        tenant = dataclasses.replace(self._template, name=name)
        self._kept[name] = (tenant, self._now() + RECHECK_TIME)
        return tenant
