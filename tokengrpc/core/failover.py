"""What a generation does next: which engines may run it, with what, and when there is nothing left to try.

Before the first token a lost engine is replaced silently, by any other that can run the request. After it,
another one goes on from what readers have, where the request allows switches and the output can be continued.
No I/O; times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tokengrpc.core.continuation import NEEDED, ContinuationState, can_be_continued, with_token_ids
from tokengrpc.core.input_tokens import estimate_input
from tokengrpc.core.model import Capability, ContinuationMethod, FinishReason, Switch
from tokengrpc.core.routing import SlotRequest
from tokengrpc.core.termination import Termination
from tokengrpc.errors import (
    Advice,
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
    from tokengrpc.core.ports.engine import Continuation
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.core.routing import PooledEngine


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What is sent to which engines. `method` is None as long as there is nothing to go on from.

    `lost` is the engine that is gone on from, `reason` that of the error by which it was lost.
    """

    slot_request: SlotRequest
    request: GenerationRequest
    method: ContinuationMethod | None = None
    continuation: Continuation | None = None
    lost: str = ""
    reason: str = ""

    def switch(self, to: PooledEngine) -> Switch | None:
        """What readers are told before an engine that goes on brings something; None for one that begins."""
        if self.method is None:
            return None
        return Switch(from_engine=self.lost, to_engine=to.engine.name, reason=self.reason, method=self.method)


class FailoverPlan:
    """The ways of one generation, the best one first; at least one until `lost` raises.

    `continuation_state` is None where no engine may go on from another's output.
    """

    def __init__(self, generation: Generation, capable: Sequence[PooledEngine], max_attempts: int) -> None:
        self._generation = generation
        self._request = request = generation.request
        self._capable = capable
        self._max_attempts = max_attempts
        continues = len(capable) > 1 and can_be_continued(request)
        self.continuation_state = ContinuationState() if continues else None
        self._candidates = [Candidate(slot_request=self._slot_request(capable), request=request)]
        # Before the first token what the attempts failed with, after it the loss that made them necessary.
        self._failure: TokenGrpcError | None = None
        self._tries = self._switches = 0

    @property
    def candidate(self) -> Candidate:
        """What is to be tried now."""
        return self._candidates[0]

    @property
    def loss(self) -> TokenGrpcError | None:
        """What the generation fails with if nobody goes on; None before the first token."""
        return self._failure if self._switches else None

    def begin(self, pooled: PooledEngine) -> GenerationRequest:
        """An attempt begins: the request that this engine gets."""
        self._tries += 1
        request = self.candidate.request
        return with_token_ids(request) if self._wants_ids(pooled) else request

    def failed(self, pooled: PooledEngine, error: TokenGrpcError, now: float) -> None:
        """An attempt brought nothing. Raises what the generation fails with when no other may help."""
        if self._switches:
            self._generation.give_up()
        self._failure = failure = self._worse(error)
        if not _moves_on(error):
            raise failure if self._switches else error
        permanent = not isinstance(error, EngineError) or error.advice is Advice.NEVER
        # An engine that cannot go on from ids may do so from text.
        for candidate in self._candidates[:1] if isinstance(error, UnsupportedFeature) else self._candidates:
            candidate.slot_request.failed(pooled, permanent=permanent)
        self._candidates = [
            candidate for candidate in self._candidates if candidate.slot_request.can_try_again(now)
        ]
        if not self._candidates or self._tries >= self._max_attempts:
            raise failure
        if not self._switches:
            # Only now: the last attempt's counts are the bill.
            self._generation.give_up()

    def lost(self, pooled: PooledEngine, error: TokenGrpcError) -> Termination | None:
        """An engine was lost after it had brought output; all of that can be read.

        Answers the end where the output is whole, None where another engine may go on. Raises the error
        where none can.
        """
        continuation_state = self.continuation_state
        allowed = self._request.recovery.max_engine_switch_count
        if continuation_state is None or not _moves_on(error) or self._switches >= allowed:
            raise error
        methods = continuation_state.methods(self._request, self._generation)
        request, left = self._request, self._request.max_output_token_count
        if left is not None:
            left -= self._generation.token_count
            if left <= 0:
                if ContinuationMethod.TOKEN_IDS not in methods:
                    raise error  # the count is our own, and may be wrong
                return Termination(reason=FinishReason.MAX_TOKENS)
            request = replace(request, max_output_token_count=left)
        candidates = []
        for method in methods:
            engines = [m for m in self._capable if m is not pooled and _can_go_on(m, pooled, method)]
            if engines:
                candidate = Candidate(
                    slot_request=self._slot_request(engines),
                    request=request,
                    method=method,
                    continuation=continuation_state.continuation(method),
                    lost=pooled.engine.name,
                    reason=error.reason,
                )
                candidates.append(candidate)
        if not candidates:
            raise error
        self._generation.keep()
        self._candidates, self._failure = candidates, error
        self._switches += 1
        self._tries = 0
        return None

    def _worse(self, error: TokenGrpcError) -> TokenGrpcError:
        """What the generation fails with when nobody goes on."""
        kept = self._failure
        if kept is None:
            return error
        if self._switches:
            return kept
        # The last one counts; but another time may help where one of them says so.
        return kept if kept.advice is Advice.RETRY and error.advice is Advice.NEVER else error

    def _slot_request(self, engines: Sequence[PooledEngine]) -> SlotRequest:
        generation = self._generation
        return SlotRequest(
            capable=engines,
            input_tokens=estimate_input(self._request),
            most_output=self._request.max_output_token_count,
            progress=lambda: generation.token_count,
        )

    def _wants_ids(self, pooled: PooledEngine) -> bool:
        """Whether the engine is asked for token ids that nobody but another engine may need."""
        return (
            self.continuation_state is not None
            and self._switches < self._request.recovery.max_engine_switch_count
            and Capability.TOKEN_IDS in pooled.engine.capabilities
            and any(
                _can_go_on(other, pooled, ContinuationMethod.TOKEN_IDS)
                for other in self._capable
                if other is not pooled
            )
        )


def _moves_on(error: TokenGrpcError) -> bool:
    """Whether another engine may do what this one failed at.

    Faults of the engine; its credentials, a model or a feature that it alone does not have. Not a first token
    that did not come: the time for it is one for all attempts. Never what is wrong with the request.
    """
    if isinstance(error, EngineStalled) and error.metadata.get("clock") == "first_token":
        return False
    if isinstance(error, EngineError):
        return error.advice is Advice.RETRY or isinstance(error, EngineAuthFailed)
    return isinstance(error, ModelNotFound | UnsupportedFeature)


def _can_go_on(target: PooledEngine, lost: PooledEngine, method: ContinuationMethod) -> bool:
    """Whether an engine can go on from another's output. Ids mean the same to engines of one kind only."""
    same = method is not ContinuationMethod.TOKEN_IDS or target.engine.kind == lost.engine.kind
    return same and NEEDED[method] in target.engine.capabilities
