"""What can be set of every engine. Each kind has a struct of its own, which adds what that kind reads."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from tokengrpc.config.faults import FaultSettings
from tokengrpc.config.values import FLAG, ConfigError, CountOrNone, NameOrNone, Seconds, SecondsOrNone
from tokengrpc.core.model import Capability


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One engine. Factories get it with `name`, `upstream_model` and `context_token_count` filled in.

    A kind's struct extends this one and is named, under the kind, in the entry-point group
    `tokengrpc.engine_settings`.
    """

    what: ClassVar[str] = "engine"

    name: Annotated[NameOrNone, Meta(description="the name in events and logs; empty: the model's")] = ""
    kind: Annotated[
        str,
        Meta(description="the engine: builtin, openai, anthropic, replay or an installed one", extra=FLAG),
    ] = "builtin"
    upstream_model: Annotated[
        str, Meta(description="the engine's name for the model; empty: the model's name", extra=FLAG)
    ] = ""
    context_token_count: Annotated[
        CountOrNone, Meta(description="input and output together; 0: the model's")
    ] = 0
    missing_capabilities: Annotated[
        tuple[Capability, ...], Meta(description="what it or its model cannot do")
    ] = ()
    connect_timeout: Annotated[
        Seconds, Meta(description="the longest wait for a connection, s", extra=FLAG)
    ] = 5.0
    weight: Annotated[
        float, Meta(gt=0, le=1_000, description="how much of the work it takes beside the model's others")
    ] = 1.0
    priority: Annotated[
        int, Meta(ge=0, le=100, description="lower ones are asked first, higher ones when those cannot")
    ] = 0
    max_connections: Annotated[
        CountOrNone, Meta(description="generations that it runs at once; 0: no limit")
    ] = 0
    health_check_interval: Annotated[
        SecondsOrNone, Meta(description="without traffic it is asked how it is every so often, s; 0: never")
    ] = 10.0
    faults: Annotated[
        FaultSettings,
        Meta(description="what goes wrong with its calls, for tests: see docs/simulator.md", extra=FLAG),
    ] = FaultSettings()

    @property
    def extra(self) -> frozenset[Capability]:
        """What the engine can do beyond what its kind says; empty for kinds that cannot be extended."""
        return frozenset(getattr(self, "extra_capabilities", ()))

    def capabilities(self, usual: frozenset[Capability]) -> frozenset[Capability]:
        """Returns what the engine can do, where its kind can usually do `usual`."""
        return (usual | self.extra) - frozenset(self.missing_capabilities)

    def __post_init__(self) -> None:
        """Checks that no capability is both added and taken away."""
        if both := sorted(self.extra & frozenset(self.missing_capabilities)):
            raise ConfigError(f"missing_capabilities: {both[0]} is in extra_capabilities as well; keep one")
