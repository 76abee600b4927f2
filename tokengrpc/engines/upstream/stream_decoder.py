"""Base class of all dialects' stream decoders: payloads in, deltas out, exactly one end. No I/O."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from tokengrpc.engines.upstream.errors import stream_error
from tokengrpc.errors import EngineProtocolError, EngineTruncated

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokengrpc.core.model import Delta, EngineFinish
    from tokengrpc.engines.upstream.errors import Complaint
    from tokengrpc.errors import TokenGrpcError


class StreamDecoder(ABC):
    """A decoder of one response's payloads into deltas.

    Deltas that precede a failure are returned first: after each call, check `error`, then `ended`. If `ended`
    is set without an `error`, the last delta has `finish`. Once the decoder is `complete`, nothing turns the
    outcome into an error: payloads that cannot be decoded are ignored.
    """

    def __init__(self, engine: str, hide: Callable[[str], str]) -> None:
        """`hide` redacts text that the engine sent."""
        self._engine = engine
        self._hide = hide
        self._started = False  # whether the engine has sent output
        self._finish: EngineFinish | None = None
        self.ended = False
        self.error: TokenGrpcError | None = None

    @property
    def complete(self) -> bool:
        """Whether the finish reason has arrived, which only usage and the end mark may follow."""
        return self._finish is not None

    def check(self) -> None:
        """Raises `error`, if there is one."""
        if self.error is not None:
            raise self.error

    def feed(self, payloads: Sequence[bytes]) -> list[Delta]:
        """Returns the deltas of the payloads. A payload that cannot be decoded sets `error`."""
        deltas: list[Delta] = []
        for payload in payloads:
            if self.ended:
                break
            if not payload:
                continue
            try:
                self._feed_payload(payload, deltas)
            except (ValueError, RecursionError) as error:
                if self._finish is not None:
                    continue
                self._fail(
                    EngineProtocolError(
                        f"engine {self._engine} sent a chunk that cannot be decoded ({error}); "
                        "check its kind and base_url"
                    )
                )
        return deltas

    def end(self, rest: Sequence[bytes]) -> list[Delta]:
        """Ends the output because the body ended regularly. Returns the last deltas.

        `rest` holds the payload that the body's end cut off. It is used if it can be decoded.
        """
        deltas: list[Delta] = []
        for payload in filter(None, rest):
            try:
                self._feed_payload(payload, deltas)
            except (ValueError, RecursionError):
                break
        if not self.ended:
            self._end(deltas)
        return deltas

    def cut(self, error: TokenGrpcError) -> list[Delta]:
        """Ends the output because nothing more can be read. Returns the last deltas.

        Sets `error`, unless the finish reason has arrived: then the output is complete.
        """
        deltas: list[Delta] = []
        if not self.ended:
            if self._finish is None:
                self._fail(error)
            else:
                self._end(deltas)
        return deltas

    @abstractmethod
    def _feed_payload(self, payload: bytes, deltas: list[Delta]) -> None:
        """Appends a payload's deltas to `deltas`.

        Raises ValueError or RecursionError if the payload cannot be decoded.
        """

    @abstractmethod
    def _last(self, finish: EngineFinish) -> Delta:
        """Returns the last delta, which has the finish."""

    def _held(self) -> Delta | None:
        """Returns the output that is held back, if any."""
        return None

    def final_deltas(self) -> list[Delta]:
        """Returns the output that is held back, and the finish if its reason has arrived.

        A consumer that does not wait for the usage and the end mark calls this itself.
        """
        held = self._held()
        deltas = [] if held is None else [held]
        return deltas if self._finish is None else [*deltas, self._last(self._finish)]

    def _end(self, deltas: list[Delta]) -> None:
        """Ends the output at the end mark, or at the body's end."""
        self.ended = True
        deltas += self.final_deltas()
        if self._finish is not None:
            return
        self._fail(
            EngineTruncated(
                f"engine {self._engine} ended its output without a finish reason; start again under a new id"
            )
        )

    def _complain(self, complaint: Complaint | None) -> None:
        """Handles an error object. It is ignored after the finish reason, because the output is complete."""
        if complaint is not None and self._finish is None:
            self._fail(stream_error(self._engine, complaint, started=self._started))

    def _fail(self, error: TokenGrpcError) -> None:
        self.ended = True
        self.error = error
