"""What fuzzing begins with, run through its targets: they hold without atheris too, also for old findings."""

from __future__ import annotations

import random

import pytest

from fuzz.mutation import mutate_request
from fuzz.seeds import seeds
from fuzz.targets import TARGETS


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_every_seed_holds(target: str):
    """Each target has some, and none of them breaks a promise."""
    inputs = seeds(target)
    assert inputs
    for data in inputs:
        TARGETS[target](data)


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_seeds_that_were_damaged_hold(target: str):
    """Bytes changed, left out and doubled."""
    chance = random.Random(1)
    for data in seeds(target):
        damaged = bytearray(data)
        for _ in range(4):
            at = chance.randrange(len(damaged) + 1)
            damaged[at : at + chance.randrange(4)] = chance.randbytes(chance.randrange(4))
        TARGETS[target](bytes(damaged))


def test_changed_requests_hold():
    """Requests whose fields were changed, as fuzzing changes them, and changed again."""
    inputs = seeds("request")
    for seed in range(1000):
        data = mutate_request(inputs[seed % len(inputs)], 4096, seed, lambda data, _: data)
        inputs[seed % len(inputs)] = data
        TARGETS["request"](data)


def test_a_broken_promise_is_noticed(monkeypatch: pytest.MonkeyPatch):
    """A decoder that loses a byte at a piece's border is found by its target."""
    from tokengrpc.engines.upstream.sse import SSEDecoder  # noqa: PLC0415 - patched here alone

    feed = SSEDecoder.feed
    monkeypatch.setattr(SSEDecoder, "feed", lambda self, chunk: feed(self, chunk.removesuffix(b"x")))
    with pytest.raises(AssertionError):
        TARGETS["sse"](b"data: xxx\n\n" * 40)
