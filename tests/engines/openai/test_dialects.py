"""Each kind of OpenAI-compatible server on a real socket: what it answers, and how it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.engine_runs import answer, run_once
from tests.support.scripted_engine import (
    Bytes,
    Complaint,
    Done,
    Finish,
    Reasoning,
    ScriptedEngine,
    Status,
    Text,
    ToolCall,
    UsageChunk,
)
from tests.support.wire_dialects import LITELLM, LLAMA_CPP, OLLAMA, OPENAI, PROMPT_IDS, SGLANG, TGI, VLLM
from tokengrpc.config import engine_settings
from tokengrpc.core.model import FinishReason, UsageReport
from tokengrpc.core.request import GenerationRequest, Message, OutputOptions, Role, TextPart
from tokengrpc.engines.openai.engine import create
from tokengrpc.errors import (
    ContextLengthExceeded,
    EngineAborted,
    EngineAuthFailed,
    EngineBusy,
    EngineUnavailable,
    InvalidRequest,
    TokenGrpcError,
)

if TYPE_CHECKING:
    from tests.support.wire_dialects import Dialect
    from tokengrpc.core.model import Delta

SERVERS = {
    "openai": OPENAI,
    "vllm": VLLM,
    "sglang": SGLANG,
    "llamacpp": LLAMA_CPP,
    "ollama": OLLAMA,
    "tgi": TGI,
    "litellm": LITELLM,
}
CHAT = GenerationRequest(messages=(Message(role=Role.USER, parts=(TextPart(text="Hi"),)),))
PROMPT = GenerationRequest(prompt="Once")
BOTH = {"chat": CHAT, "completions": PROMPT}


async def run(
    server: ScriptedEngine, request: GenerationRequest, **settings: Any
) -> tuple[list[Delta], TokenGrpcError | None]:
    """All deltas of a generation and the failure that ended it."""
    made = engine_settings(name="m", kind="openai", base_url=server.base_url, **settings)
    return await run_once(create(made, None), request)


class TestAnswers:
    """What each kind of server sends comes out the same."""

    @pytest.mark.parametrize("api", ["chat", "completions"])
    @pytest.mark.parametrize("name", SERVERS)
    async def test_text_finish_and_usage(self, name: str, api: str):
        """The text, the finish and the usage are what the server's own log says."""
        async with ScriptedEngine(SERVERS[name]) as server:
            server.script(Text("Hel"), Text("lo", " 🦜"), Finish("stop"), UsageChunk(), Done())
            deltas, error = await run(server, BOTH[api], dialect=name, api=api)
            call = await server.called()
        assert error is None
        assert call.chat is (api == "chat")
        assert answer(deltas) == call.text == "Hello 🦜"
        assert deltas[-1].finish is not None
        assert deltas[-1].finish.reason is FinishReason.END
        assert deltas[-1].usage is not None
        assert (deltas[-1].usage.input, deltas[-1].usage.output) == SERVERS[name].told(call)

    @pytest.mark.parametrize("api", ["chat", "completions"])
    @pytest.mark.parametrize("name", ["vllm", "sglang", "llamacpp"])
    async def test_running_counts(self, name: str, api: str):
        """Where each chunk has the counts until then, each token is one, and a cut output has its bill."""
        async with ScriptedEngine(SERVERS[name]) as server:
            server.script(Text("a", "b"), Text("c"), Complaint(message="out of memory", code=500))
            deltas, error = await run(server, BOTH[api], dialect=name, api=api)
        assert isinstance(error, EngineAborted)
        assert [delta.count for delta in deltas if delta.text] == [1, 1, 1]
        reports = [delta.usage for delta in deltas if delta.usage]
        assert (reports[-1].input, reports[-1].output) == (7, 3)

    async def test_the_cache_of_llama_cpp(self):
        """Its counts leave out what was in the cache."""
        async with ScriptedEngine(LLAMA_CPP) as server:
            server.script(Text("a"), Complaint(message="gone"))
            deltas, _ = await run(server, CHAT, dialect="llamacpp")
        assert deltas[-1].usage == UsageReport(input=7, output=1, cached_input=5)

    async def test_the_reasoning_of_sglang(self):
        """Its tokens are told beside the usage's other parts."""
        async with ScriptedEngine(SGLANG) as server:
            server.script(Reasoning("h", "m"), Text("a"), Finish(), UsageChunk(), Done())
            deltas, _ = await run(server, CHAT, dialect="sglang")
        assert deltas[-1].usage is not None
        assert (deltas[-1].usage.output, deltas[-1].usage.reasoning) == (3, 2)

    @pytest.mark.parametrize(
        ("name", "api"), [("vllm", "chat"), ("vllm", "completions"), ("sglang", "completions")]
    )
    async def test_token_ids(self, name: str, api: str):
        """Each token has its own, and those of the input come once."""
        async with ScriptedEngine(SERVERS[name]) as server:
            server.script(Text("a", "b"), Text("c"), Finish(), UsageChunk(), Done())
            request = GenerationRequest(
                messages=BOTH[api].messages, prompt=BOTH[api].prompt, output=OutputOptions(token_ids=True)
            )
            deltas, error = await run(server, request, dialect=name, api=api)
        assert error is None
        assert [delta.id for delta in deltas if delta.text] == [100, 101, 102]
        assert [delta.prompt_ids for delta in deltas if delta.prompt_ids] == [tuple(PROMPT_IDS)]

    @pytest.mark.parametrize("name", ["openai", "vllm", "sglang", "llamacpp", "ollama", "litellm"])
    async def test_reasoning_and_calls(self, name: str):
        """Each has its own place."""
        call = (ToolCall(0, "c", "f", ""), ToolCall(0, arguments='{"a":1}'), Finish("tool_calls"))
        async with ScriptedEngine(SERVERS[name]) as server:
            server.script(Reasoning("h", "m"), *call, UsageChunk(), Done())
            deltas, error = await run(server, CHAT, dialect=name)
        assert error is None
        assert "".join(delta.reasoning for delta in deltas) == "hm"
        fragments = [fragment for delta in deltas for fragment in delta.fragments]
        assert (fragments[0].id, fragments[0].function_name) == ("c", "f")
        assert "".join(fragment.arguments for fragment in fragments) == '{"a":1}'

    async def test_tgi_keeps_alive(self):
        """A comment of no text is one."""
        async with ScriptedEngine(TGI) as server:
            server.script(Text("a"), Bytes(TGI.keep_alive), Text("b"), Finish(), Done())
            deltas, error = await run(server, PROMPT, dialect="tgi")
        assert (answer(deltas), error) == ("ab", None)


class TestErrors:
    """What each kind of server says when it fails."""

    @pytest.mark.parametrize(
        ("dialect", "error", "before", "after"),
        [
            (VLLM, {"message": "no", "type": "BadRequestError", "code": 400}, InvalidRequest, EngineAborted),
            (
                VLLM,
                {"message": "died", "type": "InternalServerError", "code": 500},
                EngineUnavailable,
                EngineAborted,
            ),
            (
                SGLANG,
                {"message": "no", "type": "BadRequestError", "code": 400},
                InvalidRequest,
                EngineAborted,
            ),
            (
                SGLANG,
                {"message": "OOM", "type": "INTERNAL_SERVER_ERROR", "code": 500},
                EngineUnavailable,
                EngineAborted,
            ),
            (
                LLAMA_CPP,
                {"code": 503, "message": "Loading model", "type": "unavailable_error"},
                EngineUnavailable,
                EngineAborted,
            ),
            (TGI, {"message": "Model is overloaded"}, EngineBusy, EngineAborted),
            (
                TGI,
                {"message": "Input validation error: `top_p` must be > 0.0 and < 1.0"},
                InvalidRequest,
                EngineAborted,
            ),
            (
                TGI,
                {"message": "Request failed during generation: Server error"},
                EngineAborted,
                EngineAborted,
            ),
            (
                TGI,
                {"message": "Input validation error: `inputs` must have less than 8 tokens. Given: 9"},
                ContextLengthExceeded,
                ContextLengthExceeded,
            ),
            (LITELLM, {"message": "litellm.RateLimitError", "code": 429}, EngineBusy, EngineAborted),
            (
                LITELLM,
                {"message": "litellm.ContextWindowExceededError: no", "code": 400},
                ContextLengthExceeded,
                ContextLengthExceeded,
            ),
        ],
        ids=lambda value: value.get("message") if isinstance(value, dict) else None,
    )
    async def test_inside_a_stream(self, dialect: Dialect, error: dict[str, Any], before: type, after: type):
        """Before output and after it; what came is kept."""
        async with ScriptedEngine(dialect) as server:
            server.script(Complaint(**error))
            assert type((await run(server, CHAT))[1]) is before
            server.script(Text("a"), Complaint(**error))
            deltas, failure = await run(server, CHAT)
        assert answer(deltas) == "a"
        assert type(failure) is after

    @pytest.mark.parametrize(
        ("status", "body", "error"),
        [
            # TGI, server.rs
            (422, {"error": "Input validation error: no", "error_type": "validation"}, InvalidRequest),
            (
                424,
                {"error": "Request failed during generation", "error_type": "generation"},
                EngineUnavailable,
            ),
            (429, {"error": "Model is overloaded", "error_type": "overloaded"}, EngineBusy),
            # Ollama, openai.go and llama_server.go
            (
                400,
                {
                    "error": {
                        "message": "the input length exceeds the context length",
                        "type": "invalid_request_error",
                    }
                },
                ContextLengthExceeded,
            ),
            # SGLang, protocol.py
            (
                400,
                {"object": "error", "message": "no", "type": "BadRequestError", "code": 400},
                InvalidRequest,
            ),
            # LiteLLM, and what it passes on
            (402, {"error": {"message": "pay", "type": "None", "code": "402"}}, EngineAuthFailed),
        ],
        ids=lambda value: str(value)[:40],
    )
    async def test_statuses(self, status: int, body: object, error: type):
        """Refusals before the stream."""
        async with ScriptedEngine() as server:
            server.script(Status(status, body))
            assert type((await run(server, CHAT))[1]) is error
