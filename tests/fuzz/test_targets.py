"""Runs the seeds of fuzzing, including old findings, through the targets without atheris."""

from __future__ import annotations

import random

import pytest

from fuzz.mutation import mutate_request
from fuzz.seeds import seeds
from fuzz.targets import TARGETS


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_every_seed_passes(target: str):
    """Each target has seeds, and none of them violates a property."""
    inputs = seeds(target)
    assert inputs
    for data in inputs:
        TARGETS[target](data)


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_damaged_seeds_pass(target: str):
    """With bytes changed, removed and duplicated."""
    chance = random.Random(1)
    for data in seeds(target):
        damaged = bytearray(data)
        for _ in range(4):
            at = chance.randrange(len(damaged) + 1)
            damaged[at : at + chance.randrange(4)] = chance.randbytes(chance.randrange(4))
        TARGETS[target](bytes(damaged))


def test_mutated_requests_pass():
    """Requests whose fields were mutated repeatedly, as in fuzzing."""
    inputs = seeds("request")
    for seed in range(1000):
        data = mutate_request(inputs[seed % len(inputs)], 4096, seed, lambda data, _: data)
        inputs[seed % len(inputs)] = data
        TARGETS["request"](data)


def test_a_violated_property_is_noticed(monkeypatch: pytest.MonkeyPatch):
    """The target detects a decoder that loses a byte at the border between two pieces."""
    from tokengrpc.engines.upstream.response.sse import SSEDecoder  # noqa: PLC0415 - patched here alone

    feed = SSEDecoder.feed
    monkeypatch.setattr(SSEDecoder, "feed", lambda self, chunk: feed(self, chunk.removesuffix(b"x")))
    with pytest.raises(AssertionError):
        TARGETS["sse"](b"data: xxx\n\n" * 40)
