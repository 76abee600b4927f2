"""A small n-gram language model over token ids."""

from __future__ import annotations

from collections import Counter
from operator import itemgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

# The weight that a context of 1, 2, … tokens leaves to the next shorter one, as a count of occurrences. Lower
# values make the output more literal. Chosen by reading the output.
_BACK_OFF = (0.02, 0.2, 0.3, 0.4, 0.4)

MAX_CONTEXT = len(_BACK_OFF)


class Unigram:
    """The probability of each token without any context, in descending order."""

    __slots__ = ("highest", "probabilities")

    def __init__(self, counts: Mapping[int, int]) -> None:
        total = sum(counts.values())
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        self.probabilities = {token: count / total for token, count in ranked}
        self.highest = max(self.probabilities.values())


class Distribution:
    """The probability of each next token.

    `explicit` has the full probability of each token that occurred after this context or one of its
    suffixes. Every other token has `tail` times its probability in `unigram`.
    """

    __slots__ = ("explicit", "tail", "unigram")

    def __init__(self, explicit: dict[int, float], tail: float, unigram: Unigram) -> None:
        self.explicit = explicit
        self.tail = tail
        self.unigram = unigram

    def probability(self, token: int) -> float:
        """Returns the probability of a token; 0 if it did not occur in training."""
        known = self.explicit.get(token)
        return self.tail * self.unigram.probabilities.get(token, 0.0) if known is None else known

    def ranked(self) -> Iterator[tuple[int, float]]:
        """Returns all tokens with their probabilities, in descending order of probability."""
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
    # By hand, because heapq.merge is three times slower here.
    head = next(second, None)
    for item in first:
        while head is not None and head[1] > item[1]:
            yield head
            head = next(second, None)
        yield item
    if head is not None:
        yield head
        yield from second


class NgramModel:
    """A model that predicts a token from up to five tokens before it.

    It combines the contexts of all lengths; the longest one counts most. It is trained on pairs of a context,
    which is not predicted itself, and the text that follows. Both have at least one token.
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
        for position in range(begin, len(tokens)):
            for length in range(1, min(MAX_CONTEXT, position) + 1):
                context = tuple(tokens[position - length : position])
                self._following.setdefault(context, Counter())[tokens[position]] += 1

    def knows(self, context: Sequence[int]) -> bool:
        """Returns whether this exact context occurred in training."""
        return tuple(context) in self._following

    def next(self, context: Sequence[int]) -> Distribution:
        """Returns the distribution of the next token, which depends on the last five tokens only."""
        explicit: dict[int, float] = {}
        remaining = 1.0
        recent = tuple(context[-MAX_CONTEXT:])
        for begin in range(len(recent)):
            counts = self._following.get(recent[begin:])
            if counts is None:
                continue
            back_off = _BACK_OFF[len(recent) - begin - 1]
            total = self._totals[recent[begin:]] + back_off
            share = remaining / total
            for token, count in counts.items():
                explicit[token] = explicit.get(token, 0.0) + share * count
            remaining *= back_off / total
        probabilities = self.unigram.probabilities
        for token in explicit:
            explicit[token] += remaining * probabilities[token]
        return Distribution(explicit, remaining, self.unigram)
