"""Settings that every kind of engine has. Each kind extends them with a struct of its own."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from tokengrpc.config.faults import FaultSettings
from tokengrpc.config.values import FLAG, ConfigError, CountOrNone, NameOrNone, Seconds, SecondsOrNone
from tokengrpc.core.model import Capability


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of one engine. Factories get `name`, `upstream_model` and `context_token_count` filled in.

    The struct of a kind extends this one, and is registered under the kind's name in the entry-point group
    `tokengrpc.engine_settings`.
    """

    name: Annotated[NameOrNone, Meta(description="name in events and logs; empty: the model's name")] = ""
    kind: Annotated[
        str,
        Meta(
            description="kind of engine: builtin, openai, anthropic, vllm, replay or a plugin's", extra=FLAG
        ),
    ] = "builtin"
    upstream_model: Annotated[
        str, Meta(description="name of the model at the engine; empty: the model's name", extra=FLAG)
    ] = ""
    context_token_count: Annotated[
        CountOrNone, Meta(description="context length of the engine, in tokens; 0: the model's")
    ] = 0
    missing_capabilities: Annotated[
        tuple[Capability, ...], Meta(description="capabilities that the engine or its model lacks")
    ] = ()
    connect_timeout: Annotated[
        Seconds, Meta(description="timeout for a connection to the engine, in seconds", extra=FLAG)
    ] = 5.0
    weight: Annotated[
        float, Meta(gt=0, le=1_000, description="share of the load, relative to the model's other engines")
    ] = 1.0
    priority: Annotated[
        int,
        Meta(
            ge=0,
            le=100,
            description="engines with lower values are used first, others if none of those is available",
        ),
    ] = 0
    max_connections: Annotated[
        CountOrNone, Meta(description="maximum concurrent generations on the engine; 0: no limit")
    ] = 0
    health_check_interval: Annotated[
        SecondsOrNone,
        Meta(description="interval of health checks while there is no traffic, in seconds; 0: no checks"),
    ] = 10.0
    faults: Annotated[
        FaultSettings,
        Meta(description="faults to inject into calls of the engine: see docs/simulator.md", extra=FLAG),
    ] = FaultSettings()

    @property
    def extra(self) -> frozenset[Capability]:
        """Capabilities in addition to those of the kind; empty for kinds that cannot be extended."""
        return frozenset(getattr(self, "extra_capabilities", ()))

    def capabilities(self, usual: frozenset[Capability]) -> frozenset[Capability]:
        """Returns the capabilities of the engine; `usual` are those of its kind."""
        return (usual | self.extra) - frozenset(self.missing_capabilities)

    @property
    def named_variables(self) -> frozenset[str]:
        """Environment variables that the settings name, such as those with keys."""
        return frozenset()

    def shown(self) -> dict[str, Any]:
        """Returns all settings for people: without secrets, with the variables and files that have them."""
        return {name: getattr(self, name) for name in self.__struct_fields__}

    def check_extra_capabilities(self, *encodable: frozenset[Capability], where: str) -> None:
        """Checks that each extra capability is in one of the sets.

        A request could otherwise use a feature for which nothing is sent to the engine.
        """
        if unknown := sorted(self.extra.difference(*encodable)):
            raise ConfigError(f"extra_capabilities: {where} has no field for {unknown[0]}; remove it")

    def __post_init__(self) -> None:
        """Checks that no capability is both added and removed."""
        if both := sorted(self.extra & frozenset(self.missing_capabilities)):
            raise ConfigError(
                f"missing_capabilities: {both[0]} is in extra_capabilities too; remove it from one of them"
            )
