"""What all dialects' decoders have in common: payloads in, deltas out, one end. No I/O."""

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
    """Makes one response's payloads into deltas.

    What came before a failure is returned first: after each call, look at `error`, then at `ended`. Once
    `ended`, the last delta returned has `finish`, unless there is an `error`. Once `complete`, nothing makes
    an error of it any more: what cannot be read is ignored.
    """

    def __init__(self, engine: str, hide: Callable[[str], str]) -> None:
        """`hide` makes an engine's words fit to be told."""
        self._engine = engine
        self._hide = hide
        self._started = False  # whether there was output
        self._finish: EngineFinish | None = None
        self.ended = False
        self.error: TokenGrpcError | None = None

    @property
    def complete(self) -> bool:
        """Whether the finish has come: only usage and the end mark may follow."""
        return self._finish is not None

    def check(self) -> None:
        """Raises `error`, if there is one."""
        if self.error is not None:
            raise self.error

    def feed(self, payloads: Sequence[bytes]) -> list[Delta]:
        """The deltas of some events' payloads."""
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
                        f"engine {self._engine} sent a chunk that no dialect has ({error}); "
                        "check that its kind and base_url are the right ones"
                    )
                )
        return deltas

    def end(self, rest: Sequence[bytes]) -> list[Delta]:
        """The body ended properly. `rest` is what its end cut off: it counts if it is whole."""
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
        """Nothing more can be read: that is `error`, unless the finish had come and so nothing is missing."""
        deltas: list[Delta] = []
        if not self.ended:
            if self._finish is None:
                self._fail(error)
            else:
                self._end(deltas)
        return deltas

    @abstractmethod
    def _feed_payload(self, payload: bytes, deltas: list[Delta]) -> None:
        """Adds an event's deltas. Raises ValueError or RecursionError for what cannot be read."""

    @abstractmethod
    def _last(self, finish: EngineFinish) -> Delta:
        """The last delta, with the finish."""

    def _held(self) -> Delta | None:
        """Output that was held back until now, if any."""
        return None

    def last(self) -> list[Delta]:
        """What an output ends with: what was held back, and the finish if it has come.

        For whoever does not wait for what may follow the finish as for the end.
        """
        held = self._held()
        deltas = [] if held is None else [held]
        return deltas if self._finish is None else [*deltas, self._last(self._finish)]

    def _end(self, deltas: list[Delta]) -> None:
        """The end mark, or the body's end in its place."""
        self.ended = True
        deltas += self.last()
        if self._finish is not None:
            return
        self._fail(
            EngineTruncated(
                f"engine {self._engine} ended its output without a finish reason; start again under a new id"
            )
        )

    def _complain(self, complaint: Complaint | None) -> None:
        """An error object came; after the finish the output is complete, whatever the engine says."""
        if complaint is not None and self._finish is None:
            self._fail(stream_error(self._engine, complaint, started=self._started))

    def _fail(self, error: TokenGrpcError) -> None:
        self.ended = True
        self.error = error
