"""Settings of engines that speak Anthropic's Messages API."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from msgspec import Meta

from tokengrpc.core.model import Capability
from tokengrpc.engines.upstream.settings import HttpEngineSettings

# What the API has fields for.
_ENCODABLE = frozenset(
    {
        Capability.PROMPT,
        Capability.CONVERSATION,
        Capability.TOOLS,
        Capability.IMAGES,
        Capability.REASONING,
        Capability.JSON_SCHEMA,
        Capability.CONTINUE_TEXT,
    }
)


class AnthropicSettings(HttpEngineSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of an engine that speaks the Messages API. `options` has the keys of `request.Options`."""

    options: Annotated[dict[str, Any], Meta(description="further settings of the kind")] = {}  # noqa: RUF012 - msgspec copies it

    key_header: ClassVar[str] = "x-api-key"

    def __post_init__(self) -> None:
        """Checks that extra capabilities have fields."""
        super().__post_init__()
        self.check_extra_capabilities(_ENCODABLE, where="the Messages API")
