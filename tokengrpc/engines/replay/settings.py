"""The settings of engines that replay a recording."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from tokengrpc.config.engine import EngineSettings
from tokengrpc.core.model import Capability


class ReplaySettings(EngineSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of a replay engine. `options` has the keys of `engine.Options`."""

    extra_capabilities: Annotated[
        tuple[Capability, ...], Meta(description="capabilities of the engine beyond those of its dialect")
    ] = ()
    options: Annotated[dict[str, Any], Meta(description="further settings of the kind")] = {}  # noqa: RUF012 - msgspec copies it
