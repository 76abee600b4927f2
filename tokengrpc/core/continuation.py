"""What a generation has put out so far, and how another engine may go on from it. No I/O.

A continuation must read as if the first engine had gone on. So nothing is continued whose rest depends on
what the next engine cannot see: a grammar's place, a tool call's or a thought's beginning, penalties' counts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tokengrpc.core.model import Capability, ContinuationMethod
from tokengrpc.core.ports.engine import Continuation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.core.events import Event
    from tokengrpc.core.generation import Generation
    from tokengrpc.core.model import Delta
    from tokengrpc.core.request import GenerationRequest

NEEDED = {
    ContinuationMethod.TOKEN_IDS: Capability.CONTINUE_TOKEN_IDS,
    ContinuationMethod.TEXT_PREFILL: Capability.CONTINUE_TEXT,
}
"""What an engine must be able to do to go on in a way; the exact way first."""

_LONGEST = 8 << 20
"""Bytes, about; a longer answer is not remembered, and so not continued."""


def can_be_continued(request: GenerationRequest) -> bool:
    """Whether another engine may go on with some output of a request, where the request allows switches."""
    sampling = request.sampling
    return bool(
        request.recovery.max_engine_switch_count
        and request.constraint is None
        # A call is parsed from what only the engine that began it has seen.
        and (not request.tools or request.tool_choice.mode == "none")
        # Engines count them over their own output, which is the rest alone.
        and not (sampling.presence_penalty or sampling.frequency_penalty)
    )


def with_token_ids(request: GenerationRequest) -> GenerationRequest:
    """The request as an engine gets it that is to tell ids for a continuation, whoever wants to read them."""
    return replace(request, output=replace(request.output, token_ids=True))


class ContinuationState:
    """Takes what the engine brought, and the events that readers got of it."""

    def __init__(self) -> None:
        self._ids: list[int] | None = []
        self._prompt_ids: tuple[int, ...] | None = None
        # The bytes of all tokens, where all are known.
        self._raw: list[bytes] | None = []
        self._text: list[str] = []
        self._reasoned = self._refused = self._called = self._too_long = False
        self._size = 0

    def take(self, deltas: Sequence[Delta], events: Sequence[Event]) -> None:
        """What one read brought, and what became of it."""
        if self._too_long:
            return
        for delta in deltas:
            self._take_delta(delta)
        for event in events:
            self._text.extend(token.text for token in event.tokens if token.text)
            self._size += sum(len(token.text) + 8 for token in event.tokens)
        if self._size > _LONGEST:
            self.__init__()  # type: ignore[misc] # forgets everything
            self._too_long = True

    def methods(self, request: GenerationRequest, generation: Generation) -> list[ContinuationMethod]:
        """The ways in which another engine may go on, the exact one first; none where it must not."""
        if self._too_long or self._called or self._refused or (self._reasoned and not self._text):
            return []
        if self._ends_in_a_stop(request.sampling.stop_sequences):
            return []
        methods = []
        if self._ids and not request.has_image and self._nothing_owed(request, generation):
            methods.append(ContinuationMethod.TOKEN_IDS)
        # A prefill is an answer: it cannot say what was thought before it.
        if not self._reasoned:
            methods.append(ContinuationMethod.TEXT_PREFILL)
        return methods

    def continuation(self, method: ContinuationMethod) -> Continuation | None:
        """What the next engine goes on from; None where there is no text yet, and it begins anew."""
        text = "".join(self._text)
        if method is ContinuationMethod.TOKEN_IDS:
            return Continuation(
                token_ids=tuple(self._ids or ()), text=text, prompt_token_ids=self._prompt_ids
            )
        return Continuation(token_ids=None, text=text) if text else None

    def went_on(self, method: ContinuationMethod) -> None:
        """Another engine goes on. After a prefill nobody knows which tokens the text before it was."""
        if method is ContinuationMethod.TEXT_PREFILL:
            self._ids = self._raw = None

    def _take_delta(self, delta: Delta) -> None:
        if delta.prompt_ids is not None and self._prompt_ids is None:
            self._prompt_ids = delta.prompt_ids
        if self._ids is not None:
            if delta.id is not None and delta.count == 1:
                self._ids.append(delta.id)
            elif delta.count != 0:
                self._ids = None
        if self._raw is not None and delta.count != 0:
            if delta.raw is None:
                self._raw = None
            else:
                self._raw.append(delta.raw)
        self._reasoned = self._reasoned or bool(delta.reasoning or delta.opaque)
        self._refused = self._refused or bool(delta.refusal)
        self._called = self._called or bool(delta.fragments)

    def _ends_in_a_stop(self, stops: Sequence[str]) -> bool:
        """Whether readers have the beginning of a stop sequence: the next engine would not know its end."""
        text = "".join(self._text)
        return any(text.endswith(stop[:size]) for stop in stops for size in range(1, len(stop)))

    def _nothing_owed(self, request: GenerationRequest, generation: Generation) -> bool:
        """Whether readers have all text of the ids, but for the beginning of a character."""
        if request.sampling.stop_sequences:
            # An engine holds text back that could begin one; only tokens' bytes tell whether it does.
            return self._raw is not None and b"".join(self._raw) == "".join(self._text).encode()
        # Half a surrogate pair: the next engine would bring the whole.
        return not generation.holds_half_pair
