"""Names of tenants as labels of metrics. Their number is bounded."""

from __future__ import annotations

MAX_TENANTS = 200
OTHERS = "(others)"
"""Label of all tenants but the first 200: an authenticator may know any number of them."""


class TenantLabels:
    """Labels of the tenants of a process."""

    def __init__(self) -> None:
        self._tenants: dict[str, str] = {}

    def of(self, name: str) -> str:
        """Returns the label of a tenant: its name, or `(others)`."""
        if len(self._tenants) < MAX_TENANTS:
            return self._tenants.setdefault(name, name)
        return self._tenants.get(name, OTHERS)
