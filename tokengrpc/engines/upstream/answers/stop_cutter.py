"""Cuts the answer before a stop sequence. Some servers leave the sequence in the answer, or do not stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tokengrpc.core.model import Delta
    from tokengrpc.core.request import GenerationRequest

# Parameters of vLLM and SGLang with which a caller asks for stop sequences to remain in the answer.
_KEEPS_STOPS = ("include_stop_str_in_output", "no_stop_trim", "min_tokens")


def stop_cutter(request: GenerationRequest) -> StopCutter | None:
    """Returns a cutter for the stop sequences of a request, or None if nothing is to be cut."""
    stops = tuple(filter(None, request.sampling.stop_sequences))
    return StopCutter(stops) if stops and not _keeps_stops(request.engine_params) else None


def _keeps_stops(params: Mapping[str, object]) -> bool:
    return any(params.get(name) for name in _KEEPS_STOPS)


class StopCutter:
    """Searches the answer text of deltas for stop sequences.

    Deltas are withheld only while the end of their text may be the beginning of a stop sequence. Engines that
    cut the sequence themselves withhold the same text, so this delays nothing further.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._firsts = {stop[0] for stop in stops}
        self._longest = max(map(len, stops))
        self._withheld: list[Delta] = []
        self.matched = ""
        """The stop sequence that was found, if any. No text follows it."""

    def push(self, delta: Delta) -> list[Delta]:
        """Returns the deltas that can be shown now, without a stop sequence and what follows it."""
        self._withheld.append(delta)
        if not delta.text:
            return self.flush() if len(self._withheld) == 1 else []
        text = "".join(part.text or "" for part in self._withheld)
        found = [(at + len(stop), at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            _, at, self.matched = min(found)
            return self._cut(at)
        return self._release(len(text) - self._ambiguous(text))

    def flush(self) -> list[Delta]:
        """Returns the deltas that are withheld: the output ended before they became a stop sequence."""
        deltas, self._withheld = self._withheld, []
        return deltas

    def _ambiguous(self, text: str) -> int:
        """Returns the length of the longest end of `text` that begins a stop sequence."""
        for length in range(min(len(text), self._longest - 1), 0, -1):
            if text[-length] in self._firsts:
                end = text[-length:]
                if any(stop.startswith(end) for stop in self._stops):
                    return length
        return 0

    def _release(self, length: int) -> list[Delta]:
        """Returns the withheld deltas whose text ends within the first `length` characters."""
        end = count = 0
        for delta in self._withheld:
            end += len(delta.text or "")
            if end > length:
                break
            count += 1
        deltas, self._withheld = self._withheld[:count], self._withheld[count:]
        return deltas

    def _cut(self, at: int) -> list[Delta]:
        """Returns the withheld deltas with the text before `at` only, and with their counts."""
        deltas, begin = [], 0
        for delta in self.flush():
            text = delta.text or ""
            deltas.append(
                delta if begin + len(text) <= at else without_text(delta, text[: max(0, at - begin)])
            )
            begin += len(text)
        return deltas


def without_text(delta: Delta, rest: str = "") -> Delta:
    """Returns a delta with only `rest` of its text, and without the details of a token that is not shown."""
    if rest:
        return structs.replace(delta, text=rest, raw=None)
    return structs.replace(delta, text="", raw=None, id=None, logprob=None, top_logprobs=())
