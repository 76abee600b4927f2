"""What readers see of a generation, whichever server runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tokengrpc.core.model import GenerationKey
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.core.snapshot import GenerationSnapshot
    from tokengrpc.core.termination import Termination
    from tokengrpc.core.trace import TraceContext
    from tokengrpc.generations.subscribers import Subscribers


class ReadableGeneration(Protocol):
    """Generation that runs or ran here, or that another server runs."""

    @property
    def key(self) -> GenerationKey:
        """Its tenant and id."""

    @property
    def request(self) -> GenerationRequest:
        """Its request; without its input if it has ended or runs elsewhere."""

    @property
    def trace(self) -> TraceContext:
        """Its place in a trace."""

    @property
    def model_name(self) -> str:
        """Name of its model."""

    @property
    def subscribers(self) -> Subscribers:
        """Its readers on this server, and the buffer that they read."""

    @property
    def complete(self) -> bool:
        """Whether its end has been recorded and published."""

    def snapshot(self) -> GenerationSnapshot:
        """Returns the current state."""

    def stop(self, termination: Termination) -> None:
        """Ends the generation now, or asks its owner to. No effect if it is ending already."""

    async def wait_ended(self) -> None:
        """Returns when the end has been recorded and published."""
