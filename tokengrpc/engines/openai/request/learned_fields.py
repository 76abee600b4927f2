"""The fields that one engine does not take, from its settings and from its refusals."""

from __future__ import annotations

import structlog

log = structlog.get_logger(__name__)


class LearnedFields:
    """The optional fields that are not sent to an engine."""

    def __init__(self, engine: str, configured: frozenset[str]) -> None:
        self._engine = engine
        self.names = configured

    def learn(self, names: frozenset[str]) -> None:
        """Notes fields that the engine has refused, after it has accepted a request without them."""
        new = sorted(names - self.names)
        if new:
            self.names |= names
            log.warning(
                "an engine refuses request fields, so they are no longer sent; set omit_fields to avoid the "
                "first refusal",
                engine=self._engine,
                fields=", ".join(new),
            )
