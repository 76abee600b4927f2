"""Base class of all dialects' stream decoders: payloads in, deltas out, exactly one end. No I/O."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

import structlog

from tokengrpc.core.model import Delta, FinishReason
from tokengrpc.engines.upstream.errors.complaint import read_complaint
from tokengrpc.engines.upstream.errors.mapping import stream_error
from tokengrpc.engines.upstream.response.finish_reasons import read_finish, stronger_finish
from tokengrpc.engines.upstream.response.keepalives import is_keepalive
from tokengrpc.engines.upstream.response.other_apis import first_value, foreign_payload
from tokengrpc.engines.upstream.response.response_id import read_id
from tokengrpc.errors import (
    AnswerMismatch,
    EngineAborted,
    EngineProtocolError,
    EngineTruncated,
    without_traceback,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from tokengrpc.core.model import EngineFinish
    from tokengrpc.engines.upstream.errors.complaint import Complaint
    from tokengrpc.errors import TokenGrpcError

# Nearly every payload is an object, which is no keep-alive.
_BRACE = ord("{")

# With these finish reasons, an answer may lack text.
_WITHOUT_ANSWER = frozenset({FinishReason.CONTENT_FILTER, FinishReason.REFUSAL})

log = structlog.get_logger(__name__)


class StreamDecoder(ABC):
    """A decoder of one response's payloads into deltas.

    Deltas that precede a failure are returned first: after each call, check `error`, then `ended`. If `ended`
    is set without an `error`, the last delta has `finish`. While the decoder is `complete`, nothing turns the
    outcome into an error: payloads that cannot be decoded are ignored.

    Some servers send a finish reason before the end, for example with their reasoning. So output that follows
    a finish reason is decoded like any other, and shows that the reason was not the end: the decoder is no
    longer complete until the next reason, the end mark or the regular end of the body. Of several finish
    reasons, the strongest is reported.

    Output that no delta can carry, such as an image, is noted in `_unrelayed`. An answer that has such output
    and no text is an error; beside text, it is logged once.
    """

    api: ClassVar[str] = ""
    """The API of the payloads, a name of `other_apis`; empty if other APIs are not told apart."""

    def __init__(self, engine: str, hide: Callable[[str], str]) -> None:
        """`hide` redacts text that the engine sent."""
        self._engine = engine
        self._hide = hide
        self._started = False  # whether the engine has sent output
        self._answered = False  # whether it has sent more than reasoning
        self._finish: EngineFinish | None = None
        self._identified = False  # whether the response's id was reported
        self._model_named = False  # whether the name of its model was
        self._marked = False  # whether the end mark has arrived, but not yet the usage
        self._unrelayed: Collection[str] = ()  # kinds of output that cannot be relayed
        self._reopened = False  # whether output has followed the last finish reason
        self.outputs_after_finish = 0  # payloads with output that came after a finish reason
        self.ended = False
        self.error: TokenGrpcError | None = None

    @property
    def complete(self) -> bool:
        """Whether the finish reason has arrived and no output has followed it."""
        return self._finish is not None and not self._reopened

    @property
    def lacks_answer(self) -> bool:
        """Whether the engine has ended its answer although it has sent nothing but reasoning."""
        finish = self._finish
        return (
            self._started and not self._answered and finish is not None and finish.reason is FinishReason.END
        )

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
            if not payload or (payload[0] != _BRACE and is_keepalive(payload)):
                continue
            try:
                self._feed_payload(payload, deltas)
            except (ValueError, RecursionError) as error:
                if not self.complete:
                    self._fail(self._undecodable(payload, error))
            if self._marked and not self.ended and self._usage_known():
                self._end(deltas)
        if self.error is not None:
            self._release(deltas)
        return deltas

    def _undecodable(self, payload: bytes, error: Exception) -> TokenGrpcError:
        """Returns the error for a payload that is no event of this API: it may be an error in a list."""
        with suppress(ValueError, RecursionError):
            value = json.loads(payload)
            complaint = read_complaint(value, self._hide)
            if complaint is not None:
                return stream_error(self._engine, complaint, started=self._started)
        with suppress(ValueError, RecursionError):
            foreign = foreign_payload(self._engine, first_value(payload), own=self.api)
            if foreign is not None:
                return foreign
        why = f" ({self._hide(str(error))})"
        undecodable = EngineProtocolError(
            f"engine {self._engine} sent a chunk that cannot be decoded{why}; check its kind and base_url"
        )
        undecodable.quoted = why
        return undecodable

    def _check_api(self, payload: object) -> None:
        """Fails if a decoded payload is of another API, because its output would be skipped.

        Output of this API may have payloads of others beside it, which proxies add.
        """
        if not (self._started or self.ended or self.complete):
            error = foreign_payload(self._engine, payload, own=self.api)
            if error is not None:
                self._fail(error)

    def end(self, rest: Sequence[bytes]) -> list[Delta]:
        """Ends the output because the body ended regularly. Returns the last deltas.

        `rest` holds the payloads that only the body's end ended. They are used if they can be decoded.
        """
        deltas: list[Delta] = []
        for payload in filter(None, rest):
            if self.ended:
                break
            if is_keepalive(payload):
                continue
            try:
                self._feed_payload(payload, deltas)
            except (ValueError, RecursionError) as error:
                undecodable = self._undecodable(payload, error)
                if not (self.complete or isinstance(undecodable, EngineProtocolError)):
                    self._fail(undecodable)
                    self._release(deltas)
                break
        if not self.ended:
            self._end(deltas)
        return deltas

    def cut(self, error: TokenGrpcError) -> list[Delta]:
        """Ends the output because nothing more can be read. Returns the last deltas.

        Sets `error`, unless the output is complete.
        """
        deltas: list[Delta] = []
        if not self.ended:
            if self.complete:
                self._end(deltas)
            else:
                self._fail(error)
                self._release(deltas)
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

    def _release(self, deltas: list[Delta]) -> None:
        held = self._held()
        if held is not None:
            deltas.append(held)

    def final_deltas(self) -> list[Delta]:
        """Returns the output that is held back, and the finish if its reason has arrived.

        A consumer that does not wait for the usage and the end mark calls this itself.
        """
        deltas: list[Delta] = []
        self._release(deltas)
        if self._finish is not None:
            if self._unrelayed:
                log.warning(
                    "an engine sent output that cannot be relayed",
                    engine=self._engine,
                    output=", ".join(sorted(self._unrelayed)),
                )
            deltas.append(self._last(self._finish))
        return deltas

    def _identify(self, value: object, model: object, deltas: list[Delta]) -> None:
        """Reports the response's id and the name of its model, each once."""
        found = "" if self._identified else read_id(value, self._hide)
        name = "" if self._model_named else read_id(model, self._hide)
        if found or name:
            self._identified = self._identified or bool(found)
            self._model_named = self._model_named or bool(name)
            deltas.append(Delta(count=0, response_id=found, response_model=name))

    def _note_output(self, *, answers: bool) -> None:
        """Notes that the engine has sent output. `answers`: it is more than reasoning."""
        self._started = True
        self._answered = self._answered or answers
        if self._finish is not None and not self._marked:
            self._reopened = True
            self.outputs_after_finish += 1

    def _take_word(self, word: str, stop: object = None, native: object = None) -> None:
        """Takes a finish reason. `stop` is the matched stop that the server reports.

        `native` is the word of the server behind a proxy, if the proxy passes it on. A failure that follows
        the finish reason of complete output is ignored.
        """
        try:
            told = self._hide(native) if isinstance(native, str) else None
            finish = read_finish(self._engine, self._hide(word), stop, told)
        except EngineAborted as error:
            if not self.complete:
                self._fail(error)
            return
        if finish is not None:
            self._finish = finish if self._finish is None else stronger_finish(self._finish, finish)
            self._reopened = False
            if self._unrelayed and not self._answered and finish.reason not in _WITHOUT_ANSWER:
                self._fail(self._unrelayable())

    def _unrelayable(self) -> AnswerMismatch:
        kinds = ", ".join(sorted(self._unrelayed))
        return AnswerMismatch(
            f"engine {self._engine} answered without text, and with output that cannot be relayed ({kinds}); "
            "use a model that answers with text"
        )

    def _usage_known(self) -> bool:
        """Returns whether the engine has reported all that its usage needs."""
        return True

    def _end_mark(self, deltas: list[Delta]) -> None:
        """Ends the output at the end mark. If the usage is still outstanding, it may follow the mark."""
        if self._finish is None or self._usage_known():
            self._end(deltas)
        else:
            self._marked, self._reopened = True, False

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
        """Handles an error object. It is ignored if the output is complete."""
        if complaint is not None and not self.complete:
            self._fail(stream_error(self._engine, complaint, started=self._started))

    def _fail(self, error: TokenGrpcError) -> None:
        self.ended = True
        self.error = without_traceback(error)  # its frames refer to this decoder
