"""Who calls, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass

from tokengrpc.errors import ModelNotAllowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A caller. `models` empty: all; `max_generations` 0: no limit of its own."""

    name: str
    models: frozenset[str] = frozenset()
    admin: bool = False
    max_generations: int = 0

    def may_use(self, model: str) -> bool:
        """Whether it may use a model."""
        return not self.models or model in self.models

    def check_may_use(self, model: str) -> None:
        """Raises ModelNotAllowed when it may not."""
        if not self.may_use(model):
            raise ModelNotAllowed(f"tenant {self.name} may not use model {model}: ask for another model")
