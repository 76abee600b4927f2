"""Draws tokens from distributions according to the contract's `Sampling`. Randomness is passed in."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import TYPE_CHECKING

from tokengrpc.engines.builtin.model import Distribution

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tokengrpc.core.request import Sampling
    from tokengrpc.engines.builtin.model import Unigram

# Low enough for readable output, high enough that it varies with the seed.
DEFAULT_TEMPERATURE = 0.6

# The probability of a token that did not occur in training, if a logit bias names it.
_UNLEARNED = 1e-6

# Below this, the likeliest token is always drawn.
_LOWEST_TEMPERATURE = 1e-4


class Sampler:
    """A sampler for the tokens of one generation.

    Penalties and bias change the logits, temperature divides them, and then top_k, top_p (of what top_k kept)
    and min_p (relative to the likeliest) cut off the tail. Penalties depend on the tokens generated so far.
    """

    def __init__(self, sampling: Sampling, unigram: Unigram, generated: Iterable[int] = ()) -> None:
        temperature = DEFAULT_TEMPERATURE if sampling.temperature is None else sampling.temperature
        self._greedy = temperature < _LOWEST_TEMPERATURE
        self._exponent = 0.0 if self._greedy else 1 / temperature
        self._bias = {token: math.exp(bias) for token, bias in sampling.logit_bias.items()}
        self._presence = sampling.presence_penalty or 0.0
        self._frequency = sampling.frequency_penalty or 0.0
        self._repetition = 1.0 if sampling.repetition_penalty is None else sampling.repetition_penalty
        self._penalizes = bool(self._presence or self._frequency or self._repetition != 1.0)
        self._top_k = sampling.top_k
        self._top_p = math.inf if sampling.top_p is None or sampling.top_p >= 1 else sampling.top_p
        self._min_p = sampling.min_p or 0.0
        self._truncates = bool(self._top_k or self._min_p or self._top_p < 1)
        self._generated: Counter[int] = Counter()
        # The factor of each generated token's presence and frequency penalty. The repetition penalty is an
        # exponent.
        self._factors: dict[int, float] = {}
        for token in generated:
            self._record(token)
        # Here and below, weights are relative to the highest one, so that no power overflows and at least one
        # does not underflow.
        self._powers: dict[int, float] = {
            token: (probability / unigram.highest) ** self._exponent
            for token, probability in unigram.probabilities.items()
        }
        self._power_sum = sum(self._powers.values())

    def draw(self, distribution: Distribution, uniform: float) -> int:
        """Draws the next token, and records it for the penalties. `uniform` is a random number in [0, 1)."""
        if self._penalizes or self._bias:
            distribution = self._adjust(distribution)
        if self._greedy:
            token, _ = next(distribution.ranked())
        elif self._truncates:
            token = self._draw_truncated(distribution, uniform)
        else:
            token = self._draw_untruncated(distribution, uniform)
        if self._penalizes:
            self._record(token)
        return token

    def _record(self, token: int) -> None:
        self._generated[token] += 1
        self._factors[token] = math.exp(-self._presence - self._frequency * self._generated[token])

    def _adjust(self, distribution: Distribution) -> Distribution:
        """Applies penalties and bias. The result no longer sums to 1."""
        adjusted = dict(distribution.explicit)
        if self._penalizes:
            for token, factor in self._factors.items():
                adjusted[token] = distribution.probability(token) ** self._repetition * factor
        for token, factor in self._bias.items():
            before = adjusted.get(token) or distribution.probability(token) or _UNLEARNED
            adjusted[token] = before * factor
        return Distribution(adjusted, distribution.tail, distribution.unigram)

    def _draw_untruncated(self, distribution: Distribution, uniform: float) -> int:
        highest, tail_factor = self._scale(distribution)
        exponent = self._exponent
        weights = [(weight / highest) ** exponent for weight in distribution.explicit.values()]
        point = uniform * (sum(weights) + tail_factor * self._tail_sum(distribution))
        for token, weight in zip(distribution.explicit, weights, strict=True):
            point -= weight
            if point < 0:
                return token
        return self._draw_tail(distribution, point / tail_factor if tail_factor else 0.0)

    def _draw_tail(self, distribution: Distribution, point: float) -> int:
        token = -1
        for token, weight in self._powers.items():
            if token not in distribution.explicit:
                point -= weight
                if point < 0:
                    return token
        return token

    def _draw_truncated(self, distribution: Distribution, uniform: float) -> int:
        highest, tail_factor = self._scale(distribution)
        ranked = ((token, (weight / highest) ** self._exponent) for token, weight in distribution.ranked())
        if self._top_k:
            candidates = list(itertools.islice(ranked, self._top_k))
            limit = self._top_p * sum(weight for _, weight in candidates)
            kept = self._cut(candidates, limit)
        else:
            explicit = sum((weight / highest) ** self._exponent for weight in distribution.explicit.values())
            kept = self._cut(ranked, self._top_p * (explicit + tail_factor * self._tail_sum(distribution)))
        point = uniform * sum(weight for _, weight in kept)
        for token, weight in kept:
            point -= weight
            if point < 0:
                return token
        return kept[-1][0]

    def _cut(self, ranked: Iterable[tuple[int, float]], limit: float) -> list[tuple[int, float]]:
        """Keeps the likeliest tokens until their weights reach `limit`, and none below min_p."""
        kept: list[tuple[int, float]] = []
        mass = 0.0
        for token, weight in ranked:
            if kept and (mass >= limit or weight < self._min_p * kept[0][1]):
                break
            kept.append((token, weight))
            mass += weight
        return kept

    def _scale(self, distribution: Distribution) -> tuple[float, float]:
        """Returns the divisor of explicit weights, and the factor of the tail's powers."""
        tail = distribution.tail * distribution.unigram.highest
        highest = max(max(distribution.explicit.values(), default=0.0), tail)
        scaled: float = (tail / highest) ** self._exponent
        return highest, scaled

    def _tail_sum(self, distribution: Distribution) -> float:
        powers = self._powers
        return max(0.0, self._power_sum - sum([powers.get(token, 0.0) for token in distribution.explicit]))
