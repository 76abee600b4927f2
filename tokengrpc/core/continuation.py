"""The output of a generation so far, and the ways in which another engine may continue it. No I/O.

A continuation must read as if the first engine had continued. So output is not continued if the rest depends
on state that the next engine cannot see: the position in a grammar, the beginning of a tool call or of a
reasoning text, the token counts of penalties.
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

REQUIRED_CAPABILITY = {
    ContinuationMethod.TOKEN_IDS: Capability.CONTINUE_TOKEN_IDS,
    ContinuationMethod.TEXT_PREFILL: Capability.CONTINUE_TEXT,
}
"""The capability that an engine needs for each continuation method; the exact method first."""

_LONGEST = 8 << 20
"""Approximate bytes of output. Longer output is not kept, so it is not continued."""


def can_be_continued(request: GenerationRequest) -> bool:
    """Returns whether output of a request may be continued at all."""
    sampling = request.sampling
    return (
        request.constraint is None
        # Only the engine that began a tool call has the text that the call is parsed from.
        and (not request.tools or request.tool_choice.mode == "none")
        # Engines apply penalties to their own output only, which would be the rest alone.
        and not (sampling.presence_penalty or sampling.frequency_penalty)
    )


def with_token_ids(request: GenerationRequest) -> GenerationRequest:
    """Returns the request with token ids asked for, which a continuation needs even if no reader does."""
    output = request.output
    if output.token_ids:
        return request
    return replace(request, output=replace(output, token_ids=True, token_ids_optional=True))


class ContinuationState:
    """Output of a generation so far: the deltas of the engine, and the text that readers have of them."""

    def __init__(self) -> None:
        self._ids: list[int] | None = []
        self._prompt_ids: tuple[int, ...] | None = None
        # The bytes of all tokens; None if those of any token are unknown.
        self._raw: list[bytes] | None = []
        self._text: list[str] = []
        self._reasoned = self._refused = self._called = self._too_long = False
        self._size = 0

    def take(self, deltas: Sequence[Delta], events: Sequence[Event]) -> None:
        """Takes the deltas of one read, and the events that were made of them."""
        if self._too_long:
            return
        for delta in deltas:
            self._take_delta(delta)
        for event in events:
            self._text.extend(token.text for token in event.tokens if token.text)
            self._size += sum(len(token.text) + 8 for token in event.tokens)
        if self._size > _LONGEST:
            self.__init__()  # type: ignore[misc] # discards all state
            self._too_long = True

    def methods(self, request: GenerationRequest, generation: Generation) -> list[ContinuationMethod]:
        """Returns the methods by which another engine may continue, the exact one first; may be empty."""
        if self._too_long or self._called or self._refused or (self._reasoned and not self._text):
            return []
        if self._ends_in_a_stop(request.sampling.stop_sequences):
            return []
        methods = []
        if self._ids and not request.has_image and self._readers_have_all_text(request, generation):
            methods.append(ContinuationMethod.TOKEN_IDS)
        # A prefill contains the answer only: it cannot carry the reasoning before it.
        if not self._reasoned:
            methods.append(ContinuationMethod.TEXT_PREFILL)
        return methods

    def continuation(self, method: ContinuationMethod) -> Continuation | None:
        """Returns the output to continue from; None if there is no text yet and the engine starts over."""
        text = "".join(self._text)
        if method is ContinuationMethod.TOKEN_IDS:
            return Continuation(
                token_ids=tuple(self._ids or ()), text=text, prompt_token_ids=self._prompt_ids
            )
        return Continuation(token_ids=None, text=text) if text else None

    def forget_partial_characters(self) -> None:
        """Notes that incomplete characters are lost: ids that may end within one cannot be continued."""
        if self._raw is None or b"".join(self._raw) != "".join(self._text).encode():
            self._ids = self._raw = None

    def continued(self, method: ContinuationMethod) -> None:
        """Notes that another engine continues. After a text prefill, the ids of earlier text are unknown."""
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
        """Returns whether the text ends in a partial stop sequence, which the next engine would miss."""
        text = "".join(self._text)
        return any(text.endswith(stop[:size]) for stop in stops for size in range(1, len(stop)))

    def _readers_have_all_text(self, request: GenerationRequest, generation: Generation) -> bool:
        """Returns whether readers have received all text that the token ids decode to.

        An incomplete trailing character does not count.
        """
        if request.sampling.stop_sequences:
            # An engine may withhold text that could begin a stop sequence; only the bytes of the tokens
            # show whether it does.
            return self._raw is not None and b"".join(self._raw) == "".join(self._text).encode()
        # The next engine would send the whole character, not the missing half of the surrogate pair.
        return not generation.holds_half_pair
