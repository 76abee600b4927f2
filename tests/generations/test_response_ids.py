"""The ids of engines' responses in attempts and usage records, over real sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tokenstreaming.v1 import input_pb2

from tests.support.anthropic_dialect import ANTHROPIC
from tests.support.harness import Served, collect, serving, upstream
from tests.support.scripted_engine import Chunk, Done, Drop, Finish, Headers, ScriptedEngine, Text, UsageChunk
from tests.support.scripted_vllm import ScriptedVllm
from tests.support.several_engines import two_engines
from tests.support.vllm_steps import End, Say
from tests.support.wire_dialects import OPENAI, VLLM, Dialect, NamedIds
from tokengrpc.config import model_settings
from tokengrpc.core.model import Capability

if TYPE_CHECKING:
    from tests.support.scripted_engine import Call

CHAT = input_pb2.Conversation(
    messages=[input_pb2.ConversationMessage(role=input_pb2.ROLE_USER, text="Say hello.")]
)
ANSWER = (Text("Well", " said"), Finish(), UsageChunk(), Done())


class WithoutIds(Dialect):
    """No ids in the body."""

    def envelope(self, call: Call) -> dict[str, Any]:
        """Leaves the id out."""
        envelope = super().envelope(call)
        del envelope["id"]
        return envelope


async def ids(server: Served) -> list[str]:
    """Returns the ids of the attempts of generation `g`, which are the same wherever they are read."""
    shown = [attempt.response_id for attempt in (await server.get("g")).attempts]
    (record,) = server.ledger.records.values()
    assert [attempt.response_id for attempt in record.attempts] == shown
    return shown


@pytest.mark.parametrize(
    ("dialect", "kind", "id_"),
    [(OPENAI, "openai", "scripted-1"), (VLLM, "openai", "scripted-1"), (ANTHROPIC, "anthropic", "msg_1")],
    ids=["openai", "vllm", "anthropic"],
)
async def test_the_id_of_the_body_is_taken(dialect: Dialect, kind: str, id_: str) -> None:
    """It precedes the id in the head."""
    async with ScriptedEngine(dialect) as engine:
        engine.script(Headers({"x-request-id": "req_1"}), *ANSWER)
        model = model_settings(name="m", kind=kind, base_url=engine.base_url)
        async with serving(model) as server:
            assert (await collect(server.stream("g", conversation=CHAT))).text == "Well said"
            assert await ids(server) == [id_]


@pytest.mark.parametrize("name", ["x-request-id", "Request-Id"])
async def test_without_one_the_id_of_the_head_is_taken(name: str) -> None:
    """Also of a call that was cut before any chunk."""
    async with ScriptedEngine(WithoutIds()) as engine:
        engine.script(Headers({name: "req_1"}), *ANSWER)
        async with serving(upstream(engine.base_url)) as server:
            assert (await collect(server.stream("g", conversation=CHAT))).text == "Well said"
            assert await ids(server) == ["req_1"]
        engine.script(Headers({name: "req_2"}), Drop())
        async with serving(upstream(engine.base_url), limits={"max_engine_attempts": 1}) as server:
            assert (await collect(server.stream("g", conversation=CHAT))).code.name == "UNAVAILABLE"
            assert await ids(server) == ["req_2"]


async def test_without_any_it_is_empty() -> None:
    """As for engines in the server's own process."""
    async with ScriptedEngine(WithoutIds()) as engine:
        engine.script(*ANSWER)
        async with serving(upstream(engine.base_url)) as server:
            await collect(server.stream("g", conversation=CHAT))
            assert await ids(server) == [""]
    async with serving() as server:
        await collect(server.stream("g", max_output_token_count=2))
        assert await ids(server) == [""]


async def test_over_vllms_own_service_it_is_the_requests() -> None:
    """With the beginning of a long generation id, so that the whole is not cut."""
    async with ScriptedVllm() as vllm:
        vllm.script(Say("Hello"), End())
        async with serving(upstream(vllm.base_url, kind="vllm", api="auto")) as server:
            await collect(server.stream("g"))
            assert await ids(server) == [vllm.calls[0].request.request_id]
            long = "g" * 128
            await collect(server.stream(long))
            (attempt,) = (await server.get(long)).attempts
            assert attempt.response_id == vllm.calls[1].request.request_id
            assert len(attempt.response_id) == 128


async def test_each_attempt_has_its_own() -> None:
    """Before the first output, and after it."""
    by_text = {"extra_capabilities": (Capability.CONTINUE_TEXT,)}
    role = {"id": "gen-early", "choices": [{"index": 0, "delta": {"role": "assistant"}}]}
    for steps, first in (((Chunk(role), Drop()), "gen-early"), ((Text("One"), Drop()), "gen-a")):
        async with two_engines(of_a=by_text, of_b=by_text, dialect=NamedIds("gen-a")) as two:
            two.b.dialect = NamedIds("gen-b")
            two.a.script(*steps)
            call = two.server.stream("g", conversation=CHAT, recovery={"max_engine_switch_count": 1})
            assert (await collect(call)).code.name == "OK"
            assert await ids(two.server) == [first, "gen-b"]
