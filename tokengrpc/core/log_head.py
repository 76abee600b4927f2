"""What is kept with the log of a generation, beside its events, for servers that do not run it."""

from __future__ import annotations

import msgspec

from tokengrpc.core.tenant import Priority


class LogHead(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The admitted request, without its input. `created` is in nanoseconds since the Unix epoch.

    `server` admitted it. `replay_ttl` is how long, in seconds, the log is kept after the end.
    """

    record_id: str
    model: str
    server: str
    created: int
    replay_ttl: float
    labels: dict[str, str] = {}
    session_id: str = ""
    priority: Priority = Priority.STANDARD

    def encode(self) -> bytes:
        """Returns the bytes to keep."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> LogHead:
        """Returns what `encode` has made bytes of; an empty head for anything else."""
        try:
            return msgspec.msgpack.decode(data, type=cls)
        except msgspec.MsgspecError:
            return cls(record_id="", model="", server="", created=0, replay_ttl=0.0)
