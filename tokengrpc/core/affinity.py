"""Session affinity: a stable order of engines for each session, by weighted rendezvous hashing. No I/O.

Each engine has a score for each session; the engine with the highest score is the session's own. If an engine
leaves, only its sessions move, each to its next engine. If it returns, the same sessions return.
"""

from __future__ import annotations

import math
from hashlib import blake2b

_BITS = 53  # those that a float represents exactly


def session_key(tenant: str, session_id: str) -> bytes:
    """Returns the key of a tenant's session; empty for an empty session id.

    Tenants cannot meet in a session, and the id cannot be read from the key.
    """
    if not session_id:
        return b""
    digest = blake2b(digest_size=16)
    name = tenant.encode("utf-8", "surrogatepass")
    digest.update(len(name).to_bytes(8, "big") + name)
    digest.update(session_id.encode("utf-8", "surrogatepass"))
    return digest.digest()


def score(engine: str, weight: float, key: bytes) -> float:
    """Returns an engine's score for a session. The highest wins, over many sessions by weight."""
    hashed = blake2b(engine.encode(), key=key, digest_size=8).digest()
    uniform = ((int.from_bytes(hashed, "big") >> (64 - _BITS)) + 0.5) / 2**_BITS  # above 0 and below 1
    return -weight / math.log(uniform)
