"""What is kept with the log of a generation, beside its events, for servers that do not run it (yet)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tokengrpc.core.model import State, Usage
from tokengrpc.core.request import GenerationRequest, Recovery
from tokengrpc.core.snapshot import GenerationSnapshot
from tokengrpc.core.tenant import NOBODY, Identity, Priority
from tokengrpc.core.termination import Timestamps
from tokengrpc.core.trace import NO_TRACE, TraceContext

if TYPE_CHECKING:
    from tokengrpc.core.model import GenerationKey, LogIdentity


class LogHead(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The admitted request. Times are in nanoseconds since the Unix epoch.

    `server` admitted it at `created`. `replay_ttl` is how long, in seconds, the log is kept after the end.
    `deadline` is that of the call that started it, 0 for none. `request` is the encoded request, from which
    another server continues; empty if none can, because the caller's own key for engines is never stored.
    """

    record_id: str
    model: str
    server: str
    created: int
    replay_ttl: float
    labels: dict[str, str] = {}
    session_id: str = ""
    priority: Priority = Priority.STANDARD
    deadline: int = 0
    identity: Identity = NOBODY
    trace: TraceContext = NO_TRACE
    request: bytes = b""

    def outline(self, key: GenerationKey, fingerprint: bytes) -> GenerationRequest:
        """Returns the request without its input."""
        return GenerationRequest(
            generation_id=key.generation_id,
            model=self.model,
            prompt="",
            labels=self.labels,
            recovery=Recovery(replay_ttl=self.replay_ttl),
            fingerprint=fingerprint,
            record_id=self.record_id,
            session_id=self.session_id,
            priority=self.priority,
        )

    def admitted(self, key: GenerationKey, log: LogIdentity) -> GenerationSnapshot:
        """Returns the state of the generation before its first event."""
        return GenerationSnapshot(
            generation_id=key.generation_id,
            model=self.model,
            server=self.server,
            log=log,
            engine="",
            attempts=(),
            state=State.QUEUED,
            timestamps=Timestamps(created=self.created),
            usage=Usage(),
            last_sequence=0,
            labels=self.labels,
        )

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
