"""The next attempt of a generation: which engines may run it, with which request, and when to give up.

If an engine is lost before the first token, any other capable engine replaces it, and readers do not notice.
After the first token, another engine continues from the output that readers have, provided that the request
allows switches and the output can be continued. No I/O; times are in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tokengrpc.core.continuation import (
    REQUIRED_CAPABILITY,
    ContinuationState,
    can_be_continued,
    with_token_ids,
)
from tokengrpc.core.input_tokens import estimate_input
from tokengrpc.core.model import Capability, ContinuationMethod, FinishReason, Switch
from tokengrpc.core.place import Place
from tokengrpc.core.pooled_engine import SlotRequest
from tokengrpc.core.ports.engine import id_space, sends_characters
from tokengrpc.core.termination import Termination
from tokengrpc.errors import (
    Advice,
    AnswerMismatch,
    EngineAuthFailed,
    EngineError,
    EngineStalled,
    ModelNotFound,
    TokenGrpcError,
    UnsupportedFeature,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.core.generation import Generation
    from tokengrpc.core.logged_output import LoggedOutput
    from tokengrpc.core.pooled_engine import PooledEngine
    from tokengrpc.core.ports.engine import Continuation
    from tokengrpc.core.request import GenerationRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Engines that may run the next attempt, and the request for them.

    `method` is None unless the attempt continues output. `lost` is the engine whose output it continues,
    `reason` the reason of the error that ended that engine's attempt.
    """

    slot_request: SlotRequest
    request: GenerationRequest
    method: ContinuationMethod | None = None
    continuation: Continuation | None = None
    lost: str = ""
    reason: str = ""

    def switch(self, to: PooledEngine) -> Switch | None:
        """Returns the event that precedes the output of an engine that continues; None if it starts over."""
        if self.method is None:
            return None
        return Switch(from_engine=self.lost, to_engine=to.engine.name, reason=self.reason, method=self.method)


class FailoverPlan:
    """Candidates for the next attempt of one generation, best first; never empty until `lost` raises.

    `continuation_state` is None if no engine may continue another engine's output. `session` is the
    key of the request's session (`session_key`); `place` that of all its attempts in the wait queue.
    """

    def __init__(
        self,
        generation: Generation,
        capable: Sequence[PooledEngine],
        max_attempts: int,
        session: bytes = b"",
        place: Place | None = None,
    ) -> None:
        self._session = session
        self._place = place or Place()
        self._generation = generation
        self._request = request = generation.request
        self._allowed = request.recovery.max_engine_switch_count
        self._capable = capable
        self._max_attempts = max_attempts
        continues = len(capable) > 1 and self._allowed and can_be_continued(request)
        self.continuation_state = ContinuationState() if continues else None
        self._candidates = [Candidate(slot_request=self._slot_request(capable), request=request)]
        # Before the first token: the error of the attempts. After it: the error that made them necessary.
        self._failure: TokenGrpcError | None = None
        self._continues = False
        self._tries = self._switches = 0

    @property
    def candidate(self) -> Candidate:
        """The candidate to try now."""
        return self._candidates[0]

    @property
    def loss(self) -> TokenGrpcError | None:
        """The error of the generation if no engine continues; None before the first token."""
        return self._failure if self._continues else None

    def begin(self, pooled: PooledEngine) -> GenerationRequest:
        """Begins an attempt. Returns the request for this engine."""
        self._tries += 1
        request = self.candidate.request
        return with_token_ids(request) if self._wants_ids(pooled) else request

    def failed(self, pooled: PooledEngine, error: TokenGrpcError, now: float) -> None:
        """Takes the error of an attempt without output. Raises the generation's error if none is left."""
        if self._continues:
            self._generation.give_up()
        self._failure = failure = self._error_to_report(error)
        if not _may_succeed_elsewhere(error):
            raise failure if self._continues else error
        permanent = not isinstance(error, EngineError) or error.advice is Advice.NEVER
        # An engine that cannot continue from token ids may be able to continue from text.
        for candidate in self._candidates[:1] if isinstance(error, UnsupportedFeature) else self._candidates:
            candidate.slot_request.failed(pooled, permanent=permanent)
        self._candidates = [
            candidate for candidate in self._candidates if candidate.slot_request.can_try_again(now)
        ]
        if not self._candidates or self._tries >= self._max_attempts:
            raise failure
        if not self._continues:
            # Only if there is another attempt: otherwise the counts of this one are billed.
            self._generation.give_up()

    def lost(self, pooled: PooledEngine, error: TokenGrpcError) -> Termination | None:
        """Takes the error of an attempt with output, all of which readers can get.

        Returns the end if the output is complete, None if another engine may continue. Raises the error if no
        engine can.
        """
        if not _may_succeed_elsewhere(error) or isinstance(error, AnswerMismatch):  # that answer is complete
            raise error
        return self._continue(pooled.engine.name, pooled, self._others(pooled), error)

    def server_lost(self, logged: LoggedOutput, error: TokenGrpcError) -> Termination | None:
        """Takes the output that another server has left, and why. Otherwise like `lost`.

        Nothing is known against its engine, which may continue itself, also if the request allows no switch.
        """
        name = logged.snapshot.engine
        lost = next((each for each in self._capable if each.engine.name == name), None)
        if can_be_continued(self._request):
            self.continuation_state = logged.continuation
            if lost is None or not sends_characters(lost.engine):
                self.continuation_state.forget_partial_characters()
        self._switches = logged.switches
        same = [lost] if lost is not None else []
        return self._continue(name, lost, same + self._others(lost), error)

    def switched(self, switch: Switch) -> None:
        """Takes note that a continuation has its first output."""
        self._switches += switch.counts

    def _others(self, lost: PooledEngine | None) -> list[PooledEngine]:
        """Returns the engines to which the request may still switch."""
        if self._switches >= self._allowed:
            return []
        return [other for other in self._capable if other is not lost]

    def _continue(
        self, name: str, lost: PooledEngine | None, to: Sequence[PooledEngine], error: TokenGrpcError
    ) -> Termination | None:
        """Prepares the continuation of an engine's output by others. `lost` is None if it is not here."""
        continuation_state = self.continuation_state
        if continuation_state is None or not to:
            raise error
        methods = continuation_state.methods(self._request, self._generation)
        request, left = self._request, self._request.max_output_token_count
        if left is not None:
            left -= self._generation.token_count
            if left <= 0:
                if ContinuationMethod.TOKEN_IDS not in methods:
                    raise error  # the server counted the tokens itself, and may be wrong
                return Termination(reason=FinishReason.MAX_TOKENS)
            request = replace(request, max_output_token_count=left)
        candidates = []
        for method in methods:
            engines = [each for each in to if _can_continue(each, lost, method)]
            if engines:
                candidate = Candidate(
                    slot_request=self._slot_request(engines),
                    request=request,
                    method=method,
                    continuation=continuation_state.continuation(method),
                    lost=name,
                    reason=error.reason,
                )
                candidates.append(candidate)
        if not candidates:
            raise error
        self._generation.keep()
        self._candidates, self._failure = candidates, error
        self._continues = True
        self._tries = 0
        return None

    def _error_to_report(self, error: TokenGrpcError) -> TokenGrpcError:
        """Returns the error of the generation if no other attempt succeeds."""
        kept = self._failure
        if kept is None:
            return error
        if self._continues:
            return kept
        # The last error counts, unless an earlier one says that a retry may help and the last one does not.
        return kept if kept.advice is Advice.RETRY and error.advice is Advice.NEVER else error

    def _slot_request(self, engines: Sequence[PooledEngine]) -> SlotRequest:
        generation = self._generation
        return SlotRequest(
            capable=engines,
            input_tokens=estimate_input(self._request),
            most_output=self._request.max_output_token_count,
            progress=lambda: generation.token_count,
            session=self._session,
            place=self._place,
        )

    def _wants_ids(self, pooled: PooledEngine) -> bool:
        """Returns whether to ask the engine for token ids so that another engine could continue from them."""
        return (
            self.continuation_state is not None
            and Capability.TOKEN_IDS in pooled.engine.capabilities
            and any(
                _can_continue(other, pooled, ContinuationMethod.TOKEN_IDS) for other in self._others(pooled)
            )
        )


def _may_succeed_elsewhere(error: TokenGrpcError) -> bool:
    """Returns whether another engine may succeed where this one failed.

    True for faults of the engine, rejected credentials, and a model or feature that this engine lacks. False
    for a first-token timeout, because all attempts share it, and for errors in the request.
    """
    if isinstance(error, EngineStalled) and error.metadata.get("clock") == "first_token":
        return False
    if isinstance(error, EngineError):
        return error.advice is Advice.RETRY or isinstance(error, EngineAuthFailed)
    return isinstance(error, ModelNotFound | UnsupportedFeature)


def _can_continue(target: PooledEngine, lost: PooledEngine | None, method: ContinuationMethod) -> bool:
    """Returns whether an engine can continue another's output. Token ids require the same id space."""
    by_ids = method is ContinuationMethod.TOKEN_IDS
    same = not by_ids or (lost is not None and id_space(target.engine) == id_space(lost.engine))
    return same and REQUIRED_CAPABILITY[method] in target.engine.capabilities
