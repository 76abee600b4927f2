"""Continuing another engine's output, and being continued: by token ids and by text."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tokenstreaming.v1 import generation_pb2, input_pb2

from tests.support.engine_runs import answer, run, run_once
from tests.support.harness import Outcome, check_gapless, collect, read_until, serving
from tests.support.script_steps import Done, Drop, Finish, Pause, Text, UsageChunk
from tests.support.scripted_engine import ScriptedEngine
from tests.support.scripted_vllm import ScriptedVllm, id_of, ids_of
from tests.support.vllm_steps import CutConnection, End, Ids, Say
from tests.support.wire_dialects import OPENAI, PROMPT_IDS, VLLM
from tokengrpc.config import engine_settings, model_settings
from tokengrpc.core.model import FinishReason
from tokengrpc.core.ports.engine import Continuation
from tokengrpc.core.request import GenerationRequest, Message, Role, Sampling, TextPart
from tokengrpc.engines.vllm.engine import create
from tokengrpc.errors import UnsupportedFeature

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.harness import Served
    from tests.support.wire_dialects import Dialect

SWITCHES = input_pb2.Recovery(max_engine_switch_count=1)
QUESTION = GenerationRequest(messages=(Message(role=Role.USER, parts=(TextPart(text="hello"),)),))
BEGUN = Continuation(token_ids=tuple(ids_of("Hello")), text="Hello")


@asynccontextmanager
async def one_after_the_other(*engines: Any) -> AsyncIterator[Served]:
    """A model on these scripted engines, the first one preferred."""
    settings = []
    for place, scripted in enumerate(engines):
        kind = {"kind": "vllm"}
        if isinstance(scripted, ScriptedEngine):
            dialect = "vllm" if scripted.dialect is VLLM else "generic"
            kind = {"kind": "openai", "dialect": dialect}
        settings.append(
            engine_settings(
                name="ab"[place],
                priority=place,
                base_url=scripted.base_url,
                health_check_interval=0.0,
                **kind,
            )
        )
    async with serving(model_settings(name="m", engines=tuple(settings))) as server:
        yield server


@asynccontextmanager
async def vllm_and(*others: Dialect | None) -> AsyncIterator[list[Any]]:
    """Starts scripted engines: of vLLM's gRPC service where no HTTP dialect is named."""
    async with AsyncExitStack() as stack:
        engines = [ScriptedVllm() if other is None else ScriptedEngine(other) for other in others]
        yield [await stack.enter_async_context(engine) for engine in engines]


async def lost(server: Served, pause: Pause, text: str, **more: Any) -> Outcome:
    """Reads a stream until readers have `text`, lets the engine break then, and reads the rest."""
    call = server.stream("g", recovery=SWITCHES, **more)
    received = ""

    def has_text(message: Any) -> bool:
        nonlocal received
        received += "".join(token.text for token in message.tokens)
        return received == text

    messages = await read_until(call, has_text)
    pause.release()
    outcome = await collect(call)
    outcome.messages[:0] = messages
    return outcome


def method(outcome: Outcome) -> str:
    (switched,) = [m.engine_switched for m in outcome.messages if m.HasField("engine_switched")]
    name = generation_pb2.ContinuationMethod.Name(switched.continuation_method)
    return name.removeprefix("CONTINUATION_METHOD_")


async def test_an_openai_engine_continues_from_its_ids() -> None:
    """The HTTP server gets the input and the output as ids: exactly where vLLM's gRPC service stopped."""
    pause = Pause()
    async with vllm_and(None, VLLM) as (a, b), one_after_the_other(a, b) as server:
        a.script(Say("Hello"), pause, CutConnection())
        b.script(Text(" world"), Finish(), UsageChunk(), Done())
        outcome = await lost(server, pause, "Hello", prompt="hello", max_output_token_count=9)
    assert (outcome.code.name, outcome.text, method(outcome)) == ("OK", "Hello world", "TOKEN_IDS")
    check_gapless(outcome.messages)
    (call,) = b.calls
    assert call.body["prompt"] == [*ids_of("hello"), *ids_of("Hello")]
    assert call.body["max_tokens"] == 9 - len(ids_of("Hello"))


async def test_it_continues_from_an_openai_engines_ids() -> None:
    """The prompt's ids are those that the HTTP server told, whatever its template was."""
    pause = Pause()
    async with vllm_and(VLLM, None) as (a, b), one_after_the_other(a, b) as server:
        a.script(Text("Hello"), pause, Drop())
        b.script(Say(" world"), End())
        outcome = await lost(server, pause, "Hello", prompt="hello")
    assert (outcome.code.name, outcome.text, method(outcome)) == ("OK", "Hello world", "TOKEN_IDS")
    assert list(b.calls[0].request.tokenized.input_ids) == [*PROMPT_IDS, 100]


async def test_a_character_that_two_engines_write() -> None:
    """The ids end within a character: the second engine brings the rest of its bytes."""
    parrot = ids_of("🦜")
    assert len(parrot) == 4
    pause = Pause()
    async with vllm_and(None, None) as (a, b), one_after_the_other(a, b) as server:
        a.script(Say("Hello"), Ids(*parrot[:2]), pause, CutConnection())
        b.script(Ids(*parrot[2:]), End())
        outcome = await lost(server, pause, "Hello", prompt="hello")
    assert (outcome.text, method(outcome)) == ("Hello🦜", "TOKEN_IDS")
    before = [*ids_of("hello"), *ids_of("Hello"), *parrot[:2]]
    assert list(b.calls[0].request.tokenized.input_ids) == before


async def test_it_continues_from_text() -> None:
    """An engine that tells no ids is continued by its text, rendered as a reply that was begun."""
    pause = Pause()
    conversation = input_pb2.Conversation(
        messages=[input_pb2.ConversationMessage(role=input_pb2.ROLE_USER, text="hello")]
    )
    async with vllm_and(OPENAI, None) as (a, b), one_after_the_other(a, b) as server:
        a.script(Text("Hello"), pause, Drop())
        b.script(Say(" world"), End())
        outcome = await lost(server, pause, "Hello", conversation=conversation)
    assert (outcome.text, method(outcome)) == ("Hello world", "TEXT_PREFILL")
    start, end = id_of("<|start|>"), id_of("<|end|>")
    rendered = [start, start, *ids_of("user\nhello"), end, *ids_of("\n"), start, *ids_of("assistant\nHello")]
    assert list(b.calls[0].request.tokenized.input_ids) == rendered


async def test_a_stop_sequence_across_two_engines() -> None:
    """VLLM cannot see a stop sequence that began before. The engine that continues finds it in the text."""
    async with ScriptedVllm() as vllm:
        vllm.script(Say("ld and on"), Say(" and on"), End())
        engine = create(engine_settings(name="v", kind="vllm", base_url=vllm.base_url), None)
        await engine.start()
        request = GenerationRequest(prompt="hello", sampling=Sampling(stop_sequences=(" world",)))
        before = Continuation(token_ids=tuple(ids_of("Hello wor")), text="Hello")
        deltas, error = await run(engine, request, before)
        await vllm.noted(f"abort {vllm.calls[0].request.request_id}")
        await engine.close()
    assert error is None
    assert answer(deltas) == ""
    assert deltas[-1].finish is not None
    assert deltas[-1].finish.reason is FinishReason.STOP_SEQUENCE


async def test_a_prompt_is_continued_with_its_text() -> None:
    """Prompt and output are tokenized as one text."""
    async with ScriptedVllm() as vllm:
        vllm.script(Say(" world"), End())
        engine = create(engine_settings(name="v", kind="vllm", base_url=vllm.base_url), None)
        before = Continuation(token_ids=None, text=" again")
        _, error = await run_once(engine, GenerationRequest(prompt="hello"), before)
    assert error is None
    assert list(vllm.calls[0].request.tokenized.input_ids) == ids_of("hello again")


@pytest.mark.parametrize(
    ("request_", "before", "missing"),
    [
        (QUESTION, BEGUN, ("CONTINUE_TOKEN_IDS",)),
        (QUESTION, Continuation(token_ids=(), text=""), ()),
        (QUESTION, Continuation(token_ids=None, text="Hello"), ("CONTINUE_TEXT",)),
        (GenerationRequest(prompt_token_ids=(1, 2)), Continuation(token_ids=None, text="Hello"), ()),
    ],
    ids=["ids are missing", "no ids", "text is missing", "ids and text"],
)
async def test_what_cannot_be_continued_exactly(
    request_: GenerationRequest, before: Continuation, missing: tuple[str, ...]
) -> None:
    """The core tries another way, or says what the first engine failed with."""
    async with ScriptedVllm() as vllm:
        settings = {"base_url": vllm.base_url, "missing_capabilities": missing}
        engine = create(engine_settings(name="v", kind="vllm", **settings), None)
        await engine.start()
        with pytest.raises(UnsupportedFeature):
            await anext(engine.generate(request_, before))
        await engine.close()
        assert vllm.calls == []


async def test_a_template_that_changes_the_begun_reply() -> None:
    """Some templates trim messages: the reply would not continue where it stopped."""
    template = "{% for m in messages %}<|start|>{{ m['content'] | trim }}<|end|>{% endfor %}"
    async with ScriptedVllm() as vllm:
        vllm.files = dict(vllm.files) | {"chat_template.jinja": template.encode()}
        engine = create(engine_settings(name="v", kind="vllm", base_url=vllm.base_url), None)
        await engine.start()
        with pytest.raises(UnsupportedFeature, match="chat template changes"):
            await anext(engine.generate(QUESTION, Continuation(token_ids=None, text="Hello ")))
        await engine.close()
