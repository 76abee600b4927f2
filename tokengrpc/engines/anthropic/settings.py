"""Settings of engines that speak Anthropic's Messages API."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from tokengrpc.engines.upstream.settings import HttpEngineSettings


class AnthropicSettings(HttpEngineSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of an engine that speaks the Messages API. `options` has the keys of `request.Options`."""

    options: Annotated[dict[str, Any], Meta(description="further settings of the kind")] = {}  # noqa: RUF012 - msgspec copies it
