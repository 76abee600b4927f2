"""The specification of a generation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.core.catalog import ServedModel
    from tokengrpc.core.logged_output import LoggedOutput
    from tokengrpc.core.model import GenerationKey
    from tokengrpc.core.pooled_engine import PooledEngine
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.core.tenant import Identity
    from tokengrpc.core.termination import Termination
    from tokengrpc.core.trace import TraceContext
    from tokengrpc.errors import TokenGrpcError
    from tokengrpc.generations.buffer import EventBuffer
    from tokengrpc.generations.subscribers import Subscribers


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenLog:
    """Log of a generation that this server took over, in this epoch, with what it says.

    `loss` is why its owner does not go on. `end` is set if the generation is not to be continued. `buffer`
    has its records; `subscribers` are those who read it here already, None if nobody could.
    """

    epoch: int
    logged: LoggedOutput
    loss: TokenGrpcError
    end: Termination | None
    buffer: EventBuffer
    subscribers: Subscribers | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationSpec:
    """Admitted request with its key, caller, model and engines.

    `engines` are the engines of the model that support every feature of the request. `deadline_left` is the
    time, in seconds, until the deadline of the call that starts the generation; None if it has none. `trace`
    is the generation's place in a trace, `peer` the address of the caller that starts it. `taken` is the log
    of a generation that another server began.
    """

    key: GenerationKey
    identity: Identity
    request: GenerationRequest
    model: ServedModel
    engines: Sequence[PooledEngine]
    deadline_left: float | None
    trace: TraceContext
    peer: str = ""
    taken: TakenLog | None = None
