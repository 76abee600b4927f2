"""The settings of engines that replay a recording."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from tokengrpc.config.engine import EngineSettings
from tokengrpc.core.model import Capability


class ReplaySettings(EngineSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of a replay engine. `options` has the keys of `engine.Options`."""

    extra_capabilities: Annotated[
        tuple[Capability, ...], Meta(description="what the engine can do beyond its dialect")
    ] = ()
    options: Annotated[dict[str, Any], Meta(description="an engine's own settings, by its kind")] = {}  # noqa: RUF012 - msgspec copies it
