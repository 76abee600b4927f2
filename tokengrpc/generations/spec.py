"""What a generation is made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.core.catalog import ServedModel
    from tokengrpc.core.model import GenerationKey
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.core.routing import PooledEngine
    from tokengrpc.core.tenant import Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationSpec:
    """An admitted request with all that was decided about it.

    `engines` are those of the model that can do all that the request asks for. `deadline_left` is the time,
    in seconds, until the starter's deadline; None without one.
    """

    key: GenerationKey
    identity: Identity
    request: GenerationRequest
    model: ServedModel
    engines: Sequence[PooledEngine]
    deadline_left: float | None
