"""What a log says is what the generation was that wrote it, as far as readers know."""

from __future__ import annotations

import pytest
from msgspec import structs

from tokengrpc.core.generation import Generation
from tokengrpc.core.log_head import LogHead
from tokengrpc.core.logged_output import LoggedOutput
from tokengrpc.core.model import (
    ContinuationMethod,
    Delta,
    GenerationKey,
    LogIdentity,
    Switch,
    ToolCallFragment,
    UsageReport,
)
from tokengrpc.core.request import GenerationRequest, OutputOptions, Recovery
from tokengrpc.core.tenant import Identity, Rates, Tenant
from tokengrpc.errors import EngineLost
from tokengrpc.tokenizers.tiktoken import load
from tokengrpc.wire.encoding import ProtobufEncoder

KEY = GenerationKey("t", "g")
LOG = LogIdentity(incarnation="log")
CREATED = 1_000_000_000
TOKENIZER = load("o200k_base", exact=True)
HEAD = LogHead(record_id="r", model="m", server="a", created=CREATED, replay_ttl=1.0)
SWITCH = Switch(from_engine="e", to_engine="f", reason="ENGINE_LOST", method=ContinuationMethod.TEXT_PREFILL)
PLAIN, DETAILED = OutputOptions(), OutputOptions(token_ids=True, raw_bytes=True)
ONE = Delta(text="One", raw=b"One", count=1, id=1)
HALF = Delta(text=None, raw="é".encode()[:1], count=1, id=2)
BATCHES = {
    "text": [[ONE, ONE]],
    "usage": [[ONE, Delta(count=0, usage=UsageReport(input=7, output=1, cached_input=3))]],
    "half a character": [[ONE, HALF]],
    "reasoning": [[Delta(reasoning="Why", count=1)], [ONE]],
    "reasoning alone": [[Delta(reasoning="Why", count=1)]],
    "a refusal": [[Delta(refusal="No", count=1)]],
    "a tool call": [[ONE], [Delta(count=1, fragments=(ToolCallFragment(call_index=0, id="c"),))]],
    "another engine": [[ONE], SWITCH, [ONE, ONE]],
    "nothing": [],
}


def written(output: OutputOptions, batches: list[object]) -> tuple[Generation, LoggedOutput]:
    """Returns a generation that runs, and what its log says."""
    request = GenerationRequest(
        generation_id="g", model="m", prompt="p", output=output, recovery=Recovery(max_engine_switch_count=2)
    )
    generation = Generation(request, TOKENIZER, CREATED, log=LOG, server="a")
    encoder = ProtobufEncoder()
    record = encoder.recorder().records
    logged = LoggedOutput(HEAD.admitted(KEY, LOG), encoder, omits_reasoning=output.omit_reasoning)
    now = CREATED + 1
    generation.attempts.begin("e", now)
    logged.take(record(generation.accept("e", now)))
    for batch in batches:
        now += 1
        if isinstance(batch, Switch):
            generation.keep()
            generation.attempt_failed(EngineLost("lost"), now - 1)
            generation.attempts.begin("f", now - 1)
            generation.accept("f", now)
            logged.take(record(generation.switch(batch, now)))
        else:
            logged.take(record(generation.feed(batch, now)))
    return generation, logged


@pytest.mark.parametrize("output", [PLAIN, DETAILED], ids=["plain", "detailed"])
@pytest.mark.parametrize("name", BATCHES)
def test_the_state_is_that_of_the_generation(name: str, output: OutputOptions) -> None:
    """A generation that is made of it goes on with the same numbers, times and counts."""
    generation, logged = written(output, BATCHES[name])
    restored = Generation(generation.request, TOKENIZER, CREATED, log=LOG, server="b")
    restored.restore(logged.snapshot, logged.token_count, logged.time_ns)
    before, after = generation.snapshot(), restored.snapshot()
    assert structs.replace(after, server="a") == before
    assert restored.token_count == generation.token_count
    (one,), (other,) = (each.feed([ONE], CREATED + 9) for each in (generation, restored))
    assert (other.sequence, other.tokens[0].index) == (one.sequence, one.tokens[0].index)


@pytest.mark.parametrize(
    ("name", "output", "methods"),
    [
        ("text", PLAIN, ["TEXT_PREFILL"]),
        ("text", DETAILED, ["TOKEN_IDS", "TEXT_PREFILL"]),
        ("half a character", DETAILED, ["TEXT_PREFILL"]),
        ("reasoning", PLAIN, []),
        ("reasoning", OutputOptions(omit_reasoning=True), []),
        ("reasoning alone", PLAIN, []),
        ("a refusal", PLAIN, []),
        ("a tool call", PLAIN, []),
        ("another engine", DETAILED, ["TEXT_PREFILL"]),
    ],
)
def test_how_it_can_be_continued(name: str, output: OutputOptions, methods: list[str]) -> None:
    """By ids only with the bytes of whole characters; never what another engine cannot know."""
    generation, logged = written(output, BATCHES[name])
    logged.continuation.forget_partial_characters()
    assert logged.continuation.methods(generation.request, generation) == methods


def test_the_head_keeps_the_caller() -> None:
    """What an older server wrote has no request, so nobody continues it; what nobody wrote has no record."""
    tenant = Tenant(name="t", models=frozenset({"m"}), model_rates=(("m", Rates(max_generations=1)),))
    head = structs.replace(HEAD, identity=Identity(tenant=tenant, subject="s"), request=b"r", deadline=5)
    assert LogHead.decode(head.encode()) == head
    assert LogHead.decode(HEAD.encode()).request == b""
    assert LogHead.decode(b"?").record_id == ""
