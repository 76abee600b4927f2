"""What a generation does next: which engines may run it, with what, and when there is nothing left to try.

Before the first token a lost engine is replaced silently, by any other that can run the request. After it,
another one goes on from what readers have, where the request allows switches and the output can be continued.
No I/O; times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tokengrpc.core.continuation import NEEDED, Transcript, can_be_continued, with_token_ids
from tokengrpc.core.events import Ending
from tokengrpc.core.input_tokens import input_length
from tokengrpc.core.model import Capability, ContinuationMethod, FinishReason, Switch
from tokengrpc.core.routing import Ask
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
    from tokengrpc.core.routing import Member

_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What is sent to which engines. `method` is None as long as there is nothing to go on from.

    `lost` is the engine that is gone on from, `reason` that of the error by which it was lost.
    """

    ask: Ask
    request: GenerationRequest
    method: ContinuationMethod | None = None
    continuation: Continuation | None = None
    lost: str = ""
    reason: str = ""

    def switch(self, to: Member) -> Switch | None:
        """What readers are told before an engine that goes on brings something; None for one that begins."""
        if self.method is None:
            return None
        return Switch(from_engine=self.lost, to_engine=to.engine.name, reason=self.reason, method=self.method)


class Plan:
    """The ways of one generation, the best one first; at least one until `lost` raises.

    `transcript` is None where no engine may go on from another's output.
    """

    def __init__(self, generation: Generation, able: Sequence[Member], max_attempts: int) -> None:
        self._generation = generation
        self._request = request = generation.request
        self._able = able
        self._max_attempts = max_attempts
        continues = len(able) > 1 and can_be_continued(request)
        self.transcript = Transcript() if continues else None
        self._ways = [Way(ask=self._ask(able), request=request)]
        # Before the first token what the attempts failed with, after it the loss that made them necessary.
        self._failure: TokenGrpcError | None = None
        self._tries = self._switches = 0

    @property
    def way(self) -> Way:
        """What is to be tried now."""
        return self._ways[0]

    @property
    def loss(self) -> TokenGrpcError | None:
        """What the generation fails with if nobody goes on; None before the first token."""
        return self._failure if self._switches else None

    def begin(self, member: Member) -> GenerationRequest:
        """An attempt begins: the request that this engine gets."""
        self._tries += 1
        request = self.way.request
        return with_token_ids(request) if self._wants_ids(member) else request

    def failed(self, member: Member, error: TokenGrpcError, now: float) -> None:
        """An attempt brought nothing. Raises what the generation fails with when no other may help."""
        if self._switches:
            self._generation.give_up()
        self._failure = failure = self._worse(error)
        if not _moves_on(error):
            raise failure if self._switches else error
        for_good = not isinstance(error, EngineError) or error.advice is Advice.NEVER
        # An engine that cannot go on from ids may do so from text.
        for way in self._ways[:1] if isinstance(error, UnsupportedFeature) else self._ways:
            way.ask.failed(member, for_good=for_good)
        self._ways = [way for way in self._ways if way.ask.wants_more(now)]
        if not self._ways or self._tries >= self._max_attempts:
            raise failure
        if not self._switches:
            # Only now: the last attempt's counts are the bill.
            self._generation.give_up()

    def lost(self, member: Member, error: TokenGrpcError) -> Ending | None:
        """An engine was lost after it had brought output; all of that can be read.

        Answers the end where the output is whole, None where another engine may go on. Raises the error
        where none can.
        """
        transcript = self.transcript
        allowed = self._request.recovery.max_engine_switch_count
        if transcript is None or not _moves_on(error) or self._switches >= allowed:
            raise error
        methods = transcript.methods(self._request, self._generation)
        request, left = self._request, self._request.max_output_token_count
        if left is not None:
            left -= self._generation.token_count
            if left <= 0:
                if ContinuationMethod.TOKEN_IDS not in methods:
                    raise error  # the count is our own, and may be wrong
                return Ending(reason=FinishReason.MAX_TOKENS)
            request = replace(request, max_output_token_count=left)
        ways = []
        for method in methods:
            members = [m for m in self._able if m is not member and _can_go_on(m, member, method)]
            if members:
                way = Way(
                    ask=self._ask(members),
                    request=request,
                    method=method,
                    continuation=transcript.continuation(method),
                    lost=member.engine.name,
                    reason=error.reason,
                )
                ways.append(way)
        if not ways:
            raise error
        self._generation.keep()
        self._ways, self._failure = ways, error
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

    def _ask(self, members: Sequence[Member]) -> Ask:
        ids = self._request.prompt_token_ids
        length = input_length(self._request) // _CHARACTERS_PER_TOKEN if ids is None else len(ids)
        generation = self._generation
        return Ask(
            able=members,
            input_tokens=length,
            most_output=self._request.max_output_token_count,
            progress=lambda: generation.token_count,
        )

    def _wants_ids(self, member: Member) -> bool:
        """Whether the engine is asked for token ids that nobody but another engine may need."""
        return (
            self.transcript is not None
            and self._switches < self._request.recovery.max_engine_switch_count
            and Capability.TOKEN_IDS in member.engine.capabilities
            and any(
                _can_go_on(other, member, ContinuationMethod.TOKEN_IDS)
                for other in self._able
                if other is not member
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


def _can_go_on(target: Member, lost: Member, method: ContinuationMethod) -> bool:
    """Whether an engine can go on from another's output. Ids mean the same to engines of one kind only."""
    same = method is not ContinuationMethod.TOKEN_IDS or target.engine.kind == lost.engine.kind
    return same and NEEDED[method] in target.engine.capabilities
