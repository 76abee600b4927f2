"""What can be set of engines that speak Anthropic's Messages API."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from tokengrpc.engines.upstream.settings import HttpEngineSettings


class AnthropicSettings(HttpEngineSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An engine that speaks the Messages API; `options` as `request.Options`."""

    options: Annotated[dict[str, Any], Meta(description="an engine's own settings, by its kind")] = {}  # noqa: RUF012 - msgspec copies it
