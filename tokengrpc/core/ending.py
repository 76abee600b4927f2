"""How a generation ends: the one place that decides it. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokengrpc.core.termination import Termination
from tokengrpc.errors import Draining, Internal, TokenGrpcError

if TYPE_CHECKING:
    from tokengrpc.core.generation import Generation
    from tokengrpc.errors import EngineStalled


class EndDecision:
    """Decision between all that may end a generation at the same time. The first rule that applies counts.

    1. The engine has sent its finish reason, and readers can get all output: the generation ends as the
       engine said. Neither timeouts nor cancellation change that.
    2. A caller, a timeout or a shutdown stopped the generation: the first such termination counts.
    3. The engine was silent for too long: the attempt has failed. Another engine may continue; otherwise the
       generation fails with that error.
    4. An error was raised: the generation fails with it. Anything but a TokenGrpcError is a bug (INTERNAL).
    """

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._stop: Termination | None = None
        self._stall: EngineStalled | None = None
        self._closed = False

    @property
    def stopped(self) -> bool:
        """Whether the generation has been stopped (rule 2)."""
        return self._stop is not None

    def stop(self, termination: Termination) -> bool:
        """Stops the generation. Returns False if that has no effect: it was stopped, or has ended, before."""
        if self._stop is not None or self._closed:
            return False
        self._stop = termination
        self._stall = None
        return True

    def stall(self, error: EngineStalled) -> bool:
        """Notes that the engine is silent. Returns False if the generation was stopped, or has ended."""
        if self._stop is not None or self._closed:
            return False
        self._stall = error
        return True

    def take_stall(self) -> EngineStalled | None:
        """Returns the stall that interrupted the attempt, once; None if the whole generation was stopped."""
        stall, self._stall = self._stall, None
        return stall

    def finished(self, *, readable: bool) -> Termination | None:
        """Returns the end that the engine reported, if it counts (rule 1).

        `readable` says whether all numbered events have been written, so that readers can get them.
        """
        finish = self._generation.engine_finish
        return Termination.of(finish) if finish is not None and readable else None

    def interrupted(self, *, readable: bool) -> Termination:
        """Returns the end of a generation whose producer was cancelled (rules 1 and 2)."""
        shutdown = Draining("the server is shutting down: try another one")
        return self.finished(readable=readable) or self._stop or Termination.failed(shutdown)

    def failed(self, error: Exception) -> Termination:
        """Returns the end of a generation whose producer raised (rule 4)."""
        if isinstance(error, TokenGrpcError):
            return Termination.failed(error)
        return Termination.failed(Internal("the server failed: try again; its log has the details"))

    def close(self, termination: Termination) -> Termination:
        """Fixes the end: nothing changes it after this. Returns the end to publish.

        If no engine had accepted the request, there is no partial output, and the end is a failure.
        """
        self._closed = True
        if termination.error is None and not self._generation.timestamps.started:
            unstarted = termination.unstarted or Internal("the generation ended before it had started")
            return Termination.failed(unstarted)
        return termination
