"""Redaction of engines' words: no secret, no address and no control character reaches a caller."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.harness import collect, serving, upstream
from tests.support.profiles import examples
from tests.support.script_steps import Status
from tests.support.scripted_engine import Done, Finish, ScriptedEngine, Text
from tokengrpc.engines.upstream.errors.redaction import hiding

KEY = "sk-proj-Zq81kLmN0pQrStUvWx42"
PLAIN_KEY = "4f9d1c7be2a84c55b0f3"
HOST = "gpu-box"
hide = hiding(KEY, PLAIN_KEY, "pass word", hosts=[HOST, "llm.corp.example"])

SECRETS = [
    KEY,
    PLAIN_KEY,
    "pass word",
    KEY[:9],
    PLAIN_KEY[:8],
    PLAIN_KEY[-7:],
    "sk-proj-****Wx42",
    "sk-...Wx42",
    "sk-proj-\u2026Wx42",
    "4f9d****b0f3",
    "4f...f3",
    "************b0f3",
    "gsk_abcDEF123456",
    "xai-abcdef123456",
    "hf_abcdefGHIJKL",
    "AIzaSyA-abc_123",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
]
ADDRESSES = [
    "http://10.1.2.3:8000/v1",
    "https://user:pw@llm.internal/v1?key=abc",
    "wss://x.y/z",
    "10.1.2.3",
    "10.1.2.3:8000",
    "fd00::1:2",
    "2001:db8:0:0:0:0:0:7",
    "[fe80::1%eth0]:8000",
    "::ffff:10.1.2.3",
    "vllm-0.vllm.svc.cluster.local",
    "vllm-0.vllm.svc:8000",
    "engine-7:8000",
    "localhost:11434",
    "gpu-box",
    "gpu-box:8000",
    "llm.corp.example",
    "api.provider.com",
    "unix:/run/engine.sock",
    "ipv6:%5Bfd00::7%5D:8033",
    "dns:///engine:8033",
    "/run/user/engine.sock",
    "/srv/models/llama/config.json",
    "C:\\models\\llama",
]
CONTROLS = [chr(code) for code in (*range(9), *range(11, 32), *range(127, 160), 0x2028)]
BIDIRECTIONAL = [*"\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"]
WORDS = st.sampled_from(
    [*("the model", "is", "busy", "try", "again in 7 s", "\n", "rate-limit"), "429", "max_tokens", "of 4096;"]
)
AROUND = ("bad: {}.", "{}", "('{}', 3)", '{{"at": "{}"}}', "to {}, then", "<{}>", "x {}\n")
UNITS = (
    *(
        "a",
        "a.",
        "a-",
        "-",
        ".",
        "*",
        "\u2026",
        ":",
        "a:",
        "1.",
        "/",
        "/a",
        "[",
        "sk-",
        "a b",
        "\x1b[",
        "key ",
    ),
    *("=", "http:/", "eyJ", "bearer ", "@", "to a", "\\", "'", "a*", "host='", "4f", "55b0f3", "://", "a://"),
)


@pytest.mark.parametrize("planted", [*SECRETS, *ADDRESSES])
@pytest.mark.parametrize(
    "around", ["bad: {}.", "{}", "('{}', 3)", '{{"at": "{}"}}', "to {}, then", "<{}>", "x {}\n"]
)
def test_known_shapes(planted: str, around: str):
    """Each shape of a secret and of an address is hidden, whatever is around it."""
    assert planted not in hide(around.format(planted))


@given(
    st.lists(WORDS, max_size=20),
    st.lists(st.sampled_from([*SECRETS, *ADDRESSES, *CONTROLS, *BIDIRECTIONAL]), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
@examples(3_000)
def test_nothing_planted_survives(words: list[str], planted: list[str], random: Any):
    """Among any words, and many at once."""
    tokens = [*words, *planted]
    random.shuffle(tokens)
    shown = hide(" ".join(tokens))
    assert not [token for token in planted if token in shown]
    shown.encode()


@given(st.sampled_from([KEY, PLAIN_KEY]), st.sampled_from([*CONTROLS, *BIDIRECTIONAL]), st.integers(1, 19))
@examples(2_000)
def test_an_invisible_character_does_not_help(key: str, character: str, at: int):
    """A key with an invisible character in it is found; with a control in it, its parts are."""
    shown = hide(f"bad key {key[:at]}{character}{key[at:]} here")
    assert key not in shown
    assert key not in shown.replace(" ", "")


@given(st.text(max_size=200))
@examples(2_000)
def test_any_text(text: str):
    """Any text can be shown on a terminal and encoded, and hiding twice changes nothing that matters."""
    shown = hide(text)
    shown.encode()
    assert not [character for character in shown if character in {*CONTROLS, *BIDIRECTIONAL}]
    assert KEY not in shown


@pytest.mark.parametrize(
    "text",
    [
        "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens.",
        "messages.1.content.0.thinking.signature: Field required",
        "max_tokens:4096 must be at most 2048; input/output is 1:2 at 12:34:56 on 2026/11/26",
        "The model `meta-llama/Llama-3.1-8B-Instruct` does not exist, see /v1/models",
        "litellm.RateLimitError: tokens per minute 10,000 (gpt-4o-mini), try again in 1m26.4s",
        "Conversation roles must alternate user/assistant, starting with a user message",
        "Invalid value for 'tools[0].function.parameters': std::vector, 50% of [1, 2] and {\"a\": 1}",
        "余额不足 — déjà vu…",
    ],
)
def test_other_words_stay(text: str):
    """What is no secret and no address is passed on as it is."""
    assert hide(text) == text


@pytest.mark.parametrize("unit", UNITS)
def test_the_time_is_linear(unit: str):
    """Text to the bound of what is read, of any repeated unit, takes no more than its length suggests."""

    def seconds(length: int) -> float:
        text = (unit * length)[:length]
        times = []
        for _ in range(5):
            begin = time.thread_time()
            hide(text)
            times.append(time.thread_time() - begin)
        return min(times)

    assert seconds(4_000) < 20 * max(seconds(500), 5e-5)


def test_long_text_is_cut_between_words():
    """What is beyond the bound is dropped, and a key at the bound is not shown in part."""
    for length in range(4_080, 4_100):
        assert KEY[:5] not in hide("x" * length + " " + KEY)
    assert len(hide("word " * 1_000_000)) < 5_000


@pytest.mark.parametrize("status", [400, 429, 500])
async def test_callers_see_redacted_words(status: int):
    """An engine's error body, over real sockets, up to the status that the caller receives."""
    async with ScriptedEngine() as engine, serving(upstream(engine.base_url)) as server:
        words = (
            f"upstream {engine.base_url}/x at 10.9.8.7:81 says \x1b[31mno\u202e to sk-live-**** of /srv/a/b"
        )
        engine.script(Status(status, {"error": {"message": words, "code": "http://10.9.8.7/"}}))
        outcome = await collect(server.stream())
    for part in ("10.9.8.7", "127.0.0.1", "\x1b", "\u202e", "sk-live", "/srv"):
        assert part not in outcome.message
    assert "says no to [hidden] of [path]" in outcome.message


@pytest.mark.parametrize("word", ["error at http://10.9.8.7:81/x", "odd \x1b[31mhttp://10.9.8.7:81/x"])
async def test_finish_reasons_are_redacted(word: str):
    """A finish reason is a word of the engine too: in an error, and in `engine_finish_reason`."""
    async with ScriptedEngine() as engine, serving(upstream(engine.base_url)) as server:
        engine.script(Text("a"), Finish(word), Done())
        outcome = await collect(server.stream())
    shown = outcome.message + (outcome.finished.engine_finish_reason if outcome.finished is not None else "")
    assert "[address]" in shown
    assert not [part for part in ("10.9.8.7", "\x1b") if part in shown]
