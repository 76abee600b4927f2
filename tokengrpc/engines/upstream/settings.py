"""What can be set of every engine over HTTP and server-sent events."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from tokengrpc.config.remote import RemoteEngineSettings
from tokengrpc.config.values import Bytes, Seconds


class HttpEngineSettings(RemoteEngineSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An engine over HTTP."""

    on_cancel: Annotated[
        Literal["abort", "drain"],
        Meta(description="what becomes of output that nobody wants: abort, or drain to know its usage"),
    ] = "abort"
    drain_limit: Annotated[Seconds, Meta(description="a drain is given up after, s")] = 30.0
    max_event_bytes: Annotated[
        Bytes, Meta(description="the longest line or event that is read of an engine")
    ] = 1 << 20
