"""What stands behind an engine, from its settings: see `DescribesUpstream`."""

from __future__ import annotations

from urllib.parse import urlsplit

from tokengrpc.core.ports.engine import Upstream
from tokengrpc.engines.http.origin import UNIX, split_unix_url

_PORTS = {"http": 80, "https": 443}


def upstream_at(base_url: str, provider: str, model: str) -> Upstream:
    """Returns the description of the server behind a URL, which may be that of a Unix socket."""
    if base_url.startswith(UNIX):
        return Upstream(provider=provider, model=model, address=split_unix_url(base_url)[0])
    parts = urlsplit(base_url)
    return Upstream(
        provider=provider,
        model=model,
        address=parts.hostname or "",
        port=parts.port or _PORTS.get(parts.scheme, 0),
    )
