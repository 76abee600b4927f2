"""A small n-gram language model. It knows token ids only."""

from __future__ import annotations

from collections import Counter
from operator import itemgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

# How much a context of 1, 2, … tokens leaves to the shorter one, as if seen that often. Less means more
# literal. Chosen by reading the output.
_BACK_OFF = (0.02, 0.2, 0.3, 0.4, 0.4)

MAX_CONTEXT = len(_BACK_OFF)


class Unigram:
    """How likely each token is with no context at all, likeliest first."""

    __slots__ = ("highest", "probabilities")

    def __init__(self, counts: Mapping[int, int]) -> None:
        total = sum(counts.values())
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        self.probabilities = {token: count / total for token, count in ranked}
        self.highest = max(self.probabilities.values())


class Distribution:
    """The probability of each next token.

    `explicit` holds the tokens that were seen in this context, shortened where need be, with their whole
    probability. Every other token has `tail` times its probability in `unigram`.
    """

    __slots__ = ("explicit", "tail", "unigram")

    def __init__(self, explicit: dict[int, float], tail: float, unigram: Unigram) -> None:
        self.explicit = explicit
        self.tail = tail
        self.unigram = unigram

    def probability(self, token: int) -> float:
        """Of any token; 0 for one that was never learned."""
        known = self.explicit.get(token)
        return self.tail * self.unigram.probabilities.get(token, 0.0) if known is None else known

    def ranked(self) -> Iterator[tuple[int, float]]:
        """All tokens with their probabilities, likeliest first."""
        explicit = sorted(self.explicit.items(), key=itemgetter(1), reverse=True)
        tail = (
            (token, self.tail * probability)
            for token, probability in self.unigram.probabilities.items()
            if token not in self.explicit
        )
        return _merge(explicit, tail)


def _merge(
    first: Iterable[tuple[int, float]], second: Iterator[tuple[int, float]]
) -> Iterator[tuple[int, float]]:
    # heapq.merge is three times slower here.
    waiting = next(second, None)
    for item in first:
        while waiting is not None and waiting[1] > item[1]:
            yield waiting
            waiting = next(second, None)
        yield item
    if waiting is not None:
        yield waiting
        yield from second


class NgramModel:
    """Predicts a token from up to five before it: all shorter contexts together, the longest counting most.

    Learns from pairs of a context, which is not predicted itself, and the tokens that follow it. Each needs
    at least one token.
    """

    def __init__(self, texts: Iterable[tuple[Sequence[int], Sequence[int]]]) -> None:
        self._following: dict[tuple[int, ...], Counter[int]] = {}
        single: Counter[int] = Counter()
        for context, text in texts:
            single.update(text)
            self._learn([*context, *text], len(context))
        self._totals = {context: counts.total() for context, counts in self._following.items()}
        self.unigram = Unigram(single)

    def _learn(self, tokens: Sequence[int], begin: int) -> None:
        for place in range(begin, len(tokens)):
            for length in range(1, min(MAX_CONTEXT, place) + 1):
                context = tuple(tokens[place - length : place])
                self._following.setdefault(context, Counter())[tokens[place]] += 1

    def knows(self, context: Sequence[int]) -> bool:
        """Whether something was seen after this very context."""
        return tuple(context) in self._following

    def next(self, context: Sequence[int]) -> Distribution:
        """What may follow; only the last five tokens of the context matter."""
        explicit: dict[int, float] = {}
        left = 1.0
        recent = tuple(context[-MAX_CONTEXT:])
        for begin in range(len(recent)):
            counts = self._following.get(recent[begin:])
            if counts is None:
                continue
            back_off = _BACK_OFF[len(recent) - begin - 1]
            total = self._totals[recent[begin:]] + back_off
            share = left / total
            for token, count in counts.items():
                explicit[token] = explicit.get(token, 0.0) + share * count
            left *= back_off / total
        probabilities = self.unigram.probabilities
        for token in explicit:
            explicit[token] += left * probabilities[token]
        return Distribution(explicit, left, self.unigram)
