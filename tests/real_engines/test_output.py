"""Output: what callers receive equals what the engine itself answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tokenstreaming.v1 import generation_pb2, input_pb2, usage_pb2

from tests.real_engines.bench import PROMPT, Bench, conversation
from tests.support.harness import check_gapless

if TYPE_CHECKING:
    from tests.support.harness import Outcome

CITY = '{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}'
WEATHER = input_pb2.Tool(name="weather", description="Tells the weather.", parameters_json_schema=CITY)


def usage(outcome: Outcome) -> tuple[int, int]:
    last = outcome.messages[-1].usage
    return last.input_token_count, last.output_token_count


def check_usage(outcome: Outcome, own: tuple[int, int]) -> None:
    """Checks that the usage equals the engine's own, or says that it is not the engine's."""
    if outcome.messages[-1].usage.source == usage_pb2.USAGE_SOURCE_ENGINE:
        assert usage(outcome) == own


def reason(outcome: Outcome) -> str:
    assert outcome.finished is not None, (outcome.code, outcome.message)
    return generation_pb2.FinishReason.Name(outcome.finished.finish_reason).removeprefix("FINISH_REASON_")


async def test_text_equals_the_engines_own(bench: Bench):
    own = await bench.ask()
    outcome = await bench.stream()
    assert (outcome.code.name, outcome.text) == ("OK", own.text), outcome.message
    assert outcome.text
    check_gapless(outcome.messages)


async def test_usage_equals_the_engines_own(bench: Bench):
    own = await bench.ask()
    outcome = await bench.stream()
    assert outcome.messages[-1].usage.source == usage_pb2.USAGE_SOURCE_ENGINE
    assert usage(outcome) == own.usage


async def test_a_stop_sequence_ends_the_output(bench: Bench):
    whole = await bench.stream()
    # A stop sequence that begins and ends within tokens, where the text allows it.
    stop = next(cut for n in range(4, 12) if "\ufffd" not in (cut := whole.text[n : n + 5]))
    own = await bench.ask(stop=[stop])
    outcome = await bench.stream(sampling=input_pb2.Sampling(temperature=0, stop_sequences=[stop]))
    assert own.text == whole.text.partition(stop)[0]
    assert (outcome.text, reason(outcome)) == (own.text, "STOP_SEQUENCE" if bench.kind.names_stop else "END")
    check_usage(outcome, own.usage)


def counts_output(payload: dict[str, Any]) -> bool:
    """Returns whether a chunk has a count of output tokens. Ollama's completions have zeros until the end."""
    usage = payload.get("usage") or {}
    return bool(payload.get("timings") or usage.get("completion_tokens"))


async def test_the_token_limit_ends_the_output(bench: Bench):
    own = await bench.ask(max_tokens=7)
    outcome = await bench.stream(max_output_token_count=7)
    assert reason(outcome) == "MAX_TOKENS"
    # Half a character at the end is a mark in an answer that was not streamed, and nothing in a stream.
    assert outcome.text.rstrip("\ufffd") == own.text.rstrip("\ufffd")
    assert outcome.messages[-1].usage.output_token_count == 7
    if bench.kind.counts_each_chunk:
        assert sum(token.count for token in outcome.tokens) == 7
        return
    # The engine sends its count at the end only. Until then, the server's own tokenizer counts.
    assert not any(map(counts_output, bench.recorder.payloads()[:-1]))
    assert outcome.messages[-1].usage.source == usage_pb2.USAGE_SOURCE_ENGINE


def chosen_and_best(logprobs: dict[str, Any]) -> tuple[list[float], list[list[float]]]:
    """Returns the logprob of each token and those of its two best candidates, in the format of either API.

    The completions API names candidates by their text, so that those of one text, such as parts of
    characters, are one.
    """
    if "token_logprobs" in logprobs:
        best = [sorted(top.values(), reverse=True)[:2] for top in logprobs["top_logprobs"]]
        return logprobs["token_logprobs"], best
    entries = logprobs["content"]
    return (
        [entry["logprob"] for entry in entries],
        [[top["logprob"] for top in entry["top_logprobs"]] for entry in entries],
    )


async def test_logprobs_equal_the_engines_own(bench: Bench):
    bench.needs("LOGPROBS")
    api = bench.kind.logprobs_api or bench.kind.prompt_api
    wanted = {"logprobs": 2} if api == "completions" else {"logprobs": True, "top_logprobs": 2}
    own = (await bench.ask(api=api, **wanted)).body["choices"][0]["logprobs"]
    expected, candidates = chosen_and_best(own)
    given = {"conversation": conversation(PROMPT)} if api == "chat" else {"prompt": PROMPT}
    outcome = await bench.stream(output=input_pb2.OutputOptions(top_logprob_count=2), **given)
    assert outcome.code.name == "OK", outcome.message
    described = [token for token in outcome.tokens if token.HasField("logprob")]
    assert [token.logprob for token in described] == pytest.approx(expected, abs=1e-3)
    for token, best in zip(described, candidates, strict=True):
        found = [top.logprob for top in token.top_logprobs]
        if bench.engine.oracle is None:
            assert found == pytest.approx(best, abs=1e-3)
        else:
            # The engine itself has all candidates, and its oracle over HTTP those of different texts.
            assert len(found) == 2
            assert all(any(value == pytest.approx(one, abs=1e-3) for value in found) for one in best)
    # llama.cpp describes the tokens of one character as one. An engine that counts at the end only makes the
    # others known there, as tokens without text and without logprobs.
    others = [token for token in outcome.tokens if not token.HasField("logprob")]
    assert not others or not bench.kind.counts_each_chunk
    assert not any(token.text for token in others)
    assert sum(token.count for token in outcome.tokens) == outcome.messages[-1].usage.output_token_count


async def test_characters_of_several_tokens_are_whole(bench: Bench):
    own = await bench.ask(max_tokens=64)
    outcome = await bench.stream(max_output_token_count=64)
    assert outcome.text == own.text
    if bench.kind.scripted:
        assert {"🦜", "—", "日"} <= set(outcome.text)
        assert "\ufffd" not in outcome.text


async def test_a_conversation_is_answered(bench: Bench):
    bench.needs("CONVERSATION")
    turns = ("Who are you?", "A parrot 🦜.", "Then tell me a story.")
    roles = ("user", "assistant", "user")
    messages = [{"role": role, "content": text} for role, text in zip(roles, turns, strict=True)]
    own = await bench.ask(messages, api="chat")
    outcome = await bench.stream(conversation=conversation(*turns))
    assert (outcome.code.name, outcome.text) == ("OK", own.text), outcome.message
    check_usage(outcome, own.usage)


async def test_the_models_own_end_is_the_end(bench: Bench):
    bench.needs_script("end by itself")
    outcome = await bench.stream(conversation=conversation("Finish."))
    assert (outcome.text, reason(outcome)) == ("All is said.", "END")


async def test_a_tool_call_arrives(bench: Bench):
    bench.needs("TOOLS")
    bench.needs_script("call a tool")
    tools = [{"type": "function", "function": {"name": "weather", "parameters": json.loads(CITY)}}]
    own = await bench.ask("The weather?", api="chat", tools=tools, max_tokens=64)
    outcome = await bench.stream(
        conversation=conversation("The weather?"), tools=[WEATHER], max_output_token_count=64
    )
    assert outcome.code.name == "OK", outcome.message
    fragments = [f for message in outcome.messages for f in message.tool_call_fragments]
    (expected,) = own.body["choices"][0]["message"]["tool_calls"]
    arguments = "".join(fragment.arguments_fragment for fragment in fragments)
    assert "".join(f.function_name for f in fragments) == expected["function"]["name"] == "weather"
    assert json.loads(arguments) == json.loads(expected["function"]["arguments"]) == {"city": "Köln"}
    assert reason(outcome) == "TOOL_CALLS"


async def test_reasoning_is_apart_from_the_text(bench: Bench):
    bench.needs("REASONING")
    bench.needs_script("think")
    outcome = await bench.stream(conversation=conversation("Think."), max_output_token_count=64)
    thought = "".join(token.reasoning_text for token in outcome.tokens)
    assert (thought.strip(), outcome.text.strip()) == ("The answer must be short.", "Short it is.")


async def test_a_json_schema_shapes_the_output(bench: Bench):
    bench.needs("JSON_SCHEMA")
    schema = '{"type": "boolean"}'
    outcome = await bench.stream(
        # Where thoughts are allowed, they come first, and the scripted model ends them.
        conversation=conversation("Think."),
        max_output_token_count=64,
        output_constraint=input_pb2.OutputConstraint(json_schema=schema),
    )
    assert outcome.code.name == "OK", outcome.message
    assert json.loads(outcome.text) in (True, False)


async def test_the_recorded_text_equals_the_callers(bench: Bench):
    """The engine's events, as its bytes have them, are exactly what the caller received."""
    if bench.kind.settings["kind"] != "openai":
        pytest.skip("the bytes on this engine's connection are HTTP/2 and protobuf, not events")
    outcome = await bench.stream(max_output_token_count=64, prompt=PROMPT)
    said = ""
    for payload in bench.recorder.payloads():
        for choice in payload.get("choices", ()):
            said += choice.get("text") or (choice.get("delta") or {}).get("content") or ""
    assert outcome.text == said
    assert said
