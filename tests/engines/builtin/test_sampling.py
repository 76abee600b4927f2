"""The n-gram model's distributions, and how tokens are drawn from them."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokengrpc.core.request import Sampling
from tokengrpc.engines.builtin.model import NgramModel
from tokengrpc.engines.builtin.sampling import Sampler

TOKENS = st.lists(st.integers(0, 9), min_size=1, max_size=40)
MODEL = NgramModel([([-1], [1, 2, 3, 1, 2, 4, 1, 2, 3, 5]), ([-2], [2, 3, 4, 6, 7])])
AFTER_TWO = MODEL.next([1, 2])


def frequencies(sampling: Sampling, draws: int = 4000) -> dict[int, float]:
    source = random.Random(7)
    sampler = Sampler(sampling, MODEL.unigram)
    drawn = [sampler.draw(AFTER_TWO, source.random()) for _ in range(draws)]
    return {token: drawn.count(token) / draws for token in set(drawn)}


def expected(exponent: float) -> dict[int, float]:
    powers = {token: probability**exponent for token, probability in AFTER_TWO.ranked()}
    return {token: power / sum(powers.values()) for token, power in powers.items()}


@given(TOKENS, st.lists(st.integers(0, 12), max_size=6))
def test_probabilities_sum_to_one(text, context):
    """In any context, the probabilities of the vocabulary sum to 1."""
    distribution = NgramModel([([-1], text)]).next(context)
    assert math.isclose(math.fsum(map(distribution.probability, set(text))), 1, rel_tol=1e-9)


@given(TOKENS, st.lists(st.integers(0, 12), max_size=6))
def test_ranked_is_the_whole_distribution(text, context):
    """The ranking holds each token once, with its probability, likeliest first."""
    distribution = NgramModel([([-1], text)]).next(context)
    ranked = list(distribution.ranked())
    assert sorted(token for token, _ in ranked) == sorted(set(text))
    assert all(math.isclose(value, distribution.probability(token)) for token, value in ranked)
    assert all(first[1] >= second[1] for first, second in itertools.pairwise(ranked))


def test_longer_contexts_count_most():
    """A token that followed a longer context is likelier than one that followed a shorter one."""
    assert MODEL.next([4, 1, 2]).probability(3) > MODEL.next([9, 9, 2]).probability(3)


def test_an_unknown_context_gives_the_unigram():
    """After an unknown context, each token has its unigram probability."""
    distribution = MODEL.next([99])
    assert dict(distribution.ranked()) == MODEL.unigram.probabilities


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_distribution(temperature):
    """Tokens, including the tail's, are drawn with their probability at that temperature."""
    drawn = frequencies(Sampling(temperature=temperature))
    for token, probability in expected(1 / temperature).items():
        assert abs(drawn.get(token, 0.0) - probability) < 0.03


def test_temperature_zero_takes_the_likeliest():
    """At temperature 0, and just above, the likeliest token is drawn each time."""
    likeliest = next(AFTER_TWO.ranked())[0]
    assert frequencies(Sampling(temperature=0), 50) == {likeliest: 1.0}
    assert frequencies(Sampling(temperature=1e-300), 50) == {likeliest: 1.0}
    assert frequencies(Sampling(temperature=0.001), 50) == {likeliest: 1.0}


@pytest.mark.parametrize(
    ("sampling", "kept"),
    [
        (Sampling(temperature=1, top_k=1), 1),
        (Sampling(temperature=1, top_k=2), 2),
        (Sampling(temperature=2, top_k=3), 3),
        (Sampling(temperature=1, top_p=0.01), 1),
        (Sampling(temperature=1, min_p=1.0), 1),
    ],
)
def test_truncation_keeps_the_likeliest(sampling, kept):
    """Only the `kept` likeliest tokens are drawn."""
    likeliest = {token for token, _ in itertools.islice(AFTER_TWO.ranked(), kept)}
    assert set(frequencies(sampling)) == likeliest


def test_top_p_keeps_the_smallest_sufficient_set():
    """Tokens are kept until their probabilities reach top_p."""
    ranked = list(AFTER_TWO.ranked())
    top_p = ranked[0][1] + ranked[1][1] / 2
    assert set(frequencies(Sampling(temperature=1, top_p=top_p))) == {ranked[0][0], ranked[1][0]}


def test_min_p_is_relative_to_the_likeliest():
    """Tokens below min_p times the highest probability are never drawn."""
    ranked = list(AFTER_TWO.ranked())
    min_p = (ranked[1][1] / ranked[0][1]) * 0.999
    kept = {token for token, value in ranked if value >= min_p * ranked[0][1]}
    assert set(frequencies(Sampling(temperature=1, min_p=min_p))) == kept


def test_a_truncation_that_cuts_nothing_changes_nothing():
    """If truncation keeps every token, draws follow the full distribution."""
    drawn = frequencies(Sampling(temperature=1, top_k=1000, min_p=1e-12))
    for token, probability in expected(1.0).items():
        assert abs(drawn.get(token, 0.0) - probability) < 0.03


@pytest.mark.parametrize("token", [7, 12345])
def test_bias_can_force_a_token(token):
    """A bias of 100 forces a token, even one that did not occur in training."""
    assert frequencies(Sampling(logit_bias={token: 100.0}), 100) == {token: 1.0}


def test_bias_can_ban_a_token():
    """A bias of -100 prevents a token from being drawn, even at a low temperature."""
    assert 3 not in frequencies(Sampling(temperature=1, logit_bias={3: -100.0}))
    everything = dict.fromkeys(MODEL.unigram.probabilities, -100.0) | {7: 0.0}
    assert frequencies(Sampling(temperature=0.01, logit_bias=everything), 50) == {7: 1.0}


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0, presence_penalty=2.0),
        Sampling(temperature=0, frequency_penalty=2.0),
        Sampling(temperature=0, repetition_penalty=4.0),
    ],
)
def test_penalties_lower_repeated_tokens(sampling):
    """After enough repetitions another token is drawn; without a penalty it never is."""
    model = NgramModel([([-1], [1, 2, 1, 2, 1, 3])])
    sampler = Sampler(sampling, model.unigram)
    assert len({sampler.draw(model.next([1]), 0.5) for _ in range(10)}) > 1
    plain = Sampler(Sampling(temperature=0), model.unigram)
    assert {plain.draw(model.next([1]), 0.5) for _ in range(10)} == {2}


def test_tokens_of_an_earlier_run_are_penalized():
    """The penalties count the tokens of the run that is continued."""
    model = NgramModel([([-1], [1, 2, 1, 2, 1, 3])])
    sampling = Sampling(temperature=0, frequency_penalty=2.0)
    assert Sampler(sampling, model.unigram).draw(model.next([1]), 0.5) == 2
    assert Sampler(sampling, model.unigram, [2, 2]).draw(model.next([1]), 0.5) == 3


@given(
    st.floats(0, 2),
    st.floats(-2, 2),
    st.floats(-2, 2),
    st.floats(0.01, 100),
    st.one_of(st.none(), st.integers(1, 5)),
    st.one_of(st.none(), st.floats(0, 1, exclude_min=True)),
    st.one_of(st.none(), st.floats(0, 1)),
    st.dictionaries(st.integers(0, 9), st.floats(-100, 100), max_size=4),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=10),
)
def test_any_settings_draw_a_token(
    temperature, presence, frequency, repetition, top_k, top_p, min_p, bias, us
):
    """With any settings, each draw returns a token of the vocabulary or one that a bias names."""
    sampling = Sampling(
        temperature=temperature,
        presence_penalty=presence,
        frequency_penalty=frequency,
        repetition_penalty=repetition,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        logit_bias=bias,
    )
    sampler = Sampler(sampling, MODEL.unigram)
    context = [1]
    for uniform in us:
        token = sampler.draw(MODEL.next(context), uniform)
        assert token in MODEL.unigram.probabilities or token in bias
        context.append(token)
