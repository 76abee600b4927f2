"""The settings of the builtin engine."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from tokengrpc.config.engine import EngineSettings
from tokengrpc.config.values import FLAG


class BuiltinSettings(EngineSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of a builtin engine."""

    pace: Annotated[
        float,
        Meta(
            ge=0, le=1_000_000, description="tokens per second of a builtin engine; 0: no limit", extra=FLAG
        ),
    ] = 0.0
