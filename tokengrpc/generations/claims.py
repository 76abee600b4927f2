"""The claim to the log of a new generation, and what is kept with the log for servers that go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokengrpc.core.log_head import LogHead
from tokengrpc.errors import GenerationIdReused, StoreUnavailable

if TYPE_CHECKING:
    from tokengrpc.core.generation import Generation
    from tokengrpc.generations.services import Services
    from tokengrpc.generations.spec import GenerationSpec


class BegunElsewhere(StoreUnavailable):
    """Generation that another server has begun at the same moment, for an equal request."""


async def claimed_epoch(
    spec: GenerationSpec, generation: Generation, services: Services, incarnation: str
) -> int:
    """Claims the log. Returns the epoch in which this server owns it; 0 without a sink.

    Raises StoreUnavailable, BegunElsewhere, GenerationIdReused.
    """
    sink, watch, patience = services.sink, services.store_watch, services.sink_patience
    if sink is None or watch is None:
        return 0
    key, fingerprint, head = spec.key, spec.request.fingerprint, log_head(spec, generation, services)
    # Where events may stay in memory, nobody waits for a store that is away.
    call = patience.retry if watch.strict else patience.once
    claim = await call(lambda: sink.claim(key, fingerprint, head, incarnation))
    if claim.owned:
        return claim.epoch
    if claim.fingerprint == fingerprint:
        raise BegunElsewhere(
            f"another server has just begun generation {key.generation_id}: call again to attach to it"
        )
    raise GenerationIdReused(
        f"generation id {key.generation_id} is in use on another server: take a new id",
        metadata={"generation_id": key.generation_id},
    )


def log_head(spec: GenerationSpec, generation: Generation, services: Services) -> bytes:
    """Returns what is kept with the log. A request with the caller's own key for engines is not."""
    request, created, left = spec.request, generation.timestamps.created, spec.deadline_left
    head = LogHead(
        record_id=request.record_id,
        model=spec.model.name,
        server=services.server,
        created=created,
        deadline=0 if left is None else created + round(left * 1e9),
        identity=spec.identity,
        trace=spec.trace.bare(),
        request=b"" if request.engine_key else request.encoded,
        replay_ttl=services.replay_ttl(request),
        labels=dict(request.labels),
        session_id=request.session_id,
        priority=request.priority,
    )
    return head.encode()
