"""The settings of all engines over HTTP and server-sent events."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from tokengrpc.config.remote import RemoteEngineSettings
from tokengrpc.config.values import Bytes, Seconds, SecondsOrNone


class HttpEngineSettings(RemoteEngineSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of an engine over HTTP."""

    on_cancel: Annotated[
        Literal["abort", "drain"],
        Meta(description="after a cancellation: abort the engine's response, or drain it for the usage"),
    ] = "abort"
    drain_limit: Annotated[Seconds, Meta(description="the maximum duration of that drain, in seconds")] = 30.0
    usage_timeout: Annotated[
        SecondsOrNone,
        Meta(description="after the finish reason, the longest wait for the usage, in seconds; 0: none"),
    ] = 5.0
    schema_check: Annotated[
        Literal["error", "log", "off"],
        Meta(description="what becomes of a complete answer that does not match the request's JSON schema"),
    ] = "error"
    logprobs_check: Annotated[
        Literal["error", "log", "off"],
        Meta(description="what becomes of an answer without the logprobs that the request asks for"),
    ] = "error"
    max_event_bytes: Annotated[
        Bytes, Meta(description="the maximum size of a line or event that an engine sends, in bytes")
    ] = 1 << 20
