"""Each kind of OpenAI-compatible server on a real socket: its responses and its failures."""

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
    """Returns all deltas of a generation and the error that ended it."""
    model = engine_settings(name="m", kind="openai", base_url=server.base_url, **settings)
    return await run_once(create(model, None), request)


class TestResponses:
    """Responses of each kind of server give the same deltas."""

    @pytest.mark.parametrize("api", ["chat", "completions"])
    @pytest.mark.parametrize("name", SERVERS)
    async def test_text_finish_and_usage(self, name: str, api: str):
        """Text, finish and usage equal those in the server's own log."""
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
    async def test_cumulative_counts(self, name: str, api: str):
        """If each chunk has cumulative counts, each token is counted and a truncated output has its usage."""
        async with ScriptedEngine(SERVERS[name]) as server:
            server.script(Text("a", "b"), Text("c"), Complaint(message="out of memory", code=500))
            deltas, error = await run(server, BOTH[api], dialect=name, api=api)
        assert isinstance(error, EngineAborted)
        assert [delta.count for delta in deltas if delta.text] == [1, 1, 1]
        reports = [delta.usage for delta in deltas if delta.usage]
        assert (reports[-1].input, reports[-1].output) == (7, 3)

    async def test_cached_tokens_of_llama_cpp(self):
        """The server's count of input tokens excludes cached ones; the reported usage includes them."""
        async with ScriptedEngine(LLAMA_CPP) as server:
            server.script(Text("a"), Complaint(message="gone"))
            deltas, _ = await run(server, CHAT, dialect="llamacpp")
        assert deltas[-1].usage == UsageReport(input=7, output=1, cached_input=5)

    async def test_reasoning_tokens_of_sglang(self):
        """SGLang sends the count of reasoning tokens outside the usage details."""
        async with ScriptedEngine(SGLANG) as server:
            server.script(Reasoning("h", "m"), Text("a"), Finish(), UsageChunk(), Done())
            deltas, _ = await run(server, CHAT, dialect="sglang")
        assert deltas[-1].usage is not None
        assert (deltas[-1].usage.output, deltas[-1].usage.reasoning) == (3, 2)

    @pytest.mark.parametrize(
        ("name", "api"), [("vllm", "chat"), ("vllm", "completions"), ("sglang", "completions")]
    )
    async def test_token_ids(self, name: str, api: str):
        """Each token has its id, and the input's ids are emitted once."""
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
        """Reasoning and tool calls are emitted in their own fields."""
        call = (ToolCall(0, "c", "f", ""), ToolCall(0, arguments='{"a":1}'), Finish("tool_calls"))
        async with ScriptedEngine(SERVERS[name]) as server:
            server.script(Reasoning("h", "m"), *call, UsageChunk(), Done())
            deltas, error = await run(server, CHAT, dialect=name)
        assert error is None
        assert "".join(delta.reasoning for delta in deltas) == "hm"
        fragments = [fragment for delta in deltas for fragment in delta.fragments]
        assert (fragments[0].id, fragments[0].function_name) == ("c", "f")
        assert "".join(fragment.arguments for fragment in fragments) == '{"a":1}'

    async def test_keep_alive_of_tgi(self):
        """An empty comment is skipped."""
        async with ScriptedEngine(TGI) as server:
            server.script(Text("a"), Bytes(TGI.keep_alive), Text("b"), Finish(), Done())
            deltas, error = await run(server, PROMPT, dialect="tgi")
        assert (answer(deltas), error) == ("ab", None)


class TestErrors:
    """Error objects of each kind of server."""

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
        """The error class depends on whether there has been output. Deltas before the error are kept."""
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
            # LiteLLM, which forwards the provider's status
            (402, {"error": {"message": "pay", "type": "None", "code": "402"}}, EngineAuthFailed),
        ],
        ids=lambda value: str(value)[:40],
    )
    async def test_statuses(self, status: int, body: object, error: type):
        """A status other than 200 is mapped to an error."""
        async with ScriptedEngine() as server:
            server.script(Status(status, body))
            assert type((await run(server, CHAT))[1]) is error
