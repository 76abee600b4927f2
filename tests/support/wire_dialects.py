"""The chunks of OpenAI-compatible servers.

Sources: vLLM's chat_completion/serving.py and completion/serving.py, SGLang's serving_completions.py,
llama.cpp's tools/server/server-task.cpp, Ollama's openai/openai.go and middleware/openai.go, TGI's
router/src/chat.rs and server.rs, LiteLLM's proxy/proxy_server.py.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.scripted_engine import Call

# The length of every scripted prompt, in tokens.
INPUT_TOKENS = 7


# The token ids of every scripted prompt.
PROMPT_IDS = list(range(1, INPUT_TOKENS + 1))


def event(payload: object) -> bytes:
    """Returns a server-sent event with a JSON payload, as most servers write it."""
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


class Dialect:
    """OpenAI's own dialect, chat and completions. Other dialects override what differs."""

    reasoning_field = "reasoning_content"
    end_mark = b"data: [DONE]\n\n"
    keep_alive = b": keep-alive\n\n"

    def envelope(self, call: Call) -> dict[str, Any]:
        """Returns the fields that every chunk begins with."""
        kind = "chat.completion.chunk" if call.chat else "text_completion"
        return {"id": "scripted-1", "object": kind, "created": 1700000000, "model": call.body.get("model")}

    def usage(
        self, call: Call, input_count: int | None = None, output_count: int | None = None
    ) -> dict[str, Any]:
        """Returns a usage object. The default counts are those of the tokens rendered so far."""
        prompt = INPUT_TOKENS if input_count is None else input_count
        completion = call.rendered_count if output_count is None else output_count
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}

    def choice(self, call: Call, content: Mapping[str, Any]) -> dict[str, Any]:
        """Returns a choice without a finish reason.

        `content` is the delta in chat, its text in completions.
        """
        body = {"delta": dict(content)} if call.chat else {"text": content.get("content", "")}
        return {"index": 0, **body, "logprobs": None, "finish_reason": None}

    def chunk(self, call: Call, content: Mapping[str, Any], **extra: Any) -> dict[str, Any]:
        """Returns a chunk with one choice."""
        return self.envelope(call) | {"choices": [self.choice(call, content) | extra]}

    def text_chunk(self, call: Call, piece: str, kind: str) -> dict[str, Any]:
        """Returns a token of text, reasoning or refusal."""
        field = {"text": "content", "reasoning": self.reasoning_field, "refusal": "refusal"}[kind]
        return self.chunk(call, {field: piece})

    def finish_chunk(self, call: Call, reason: str, extra: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the chunk with the finish reason."""
        return self.chunk(call, {}, finish_reason=reason, **extra)

    def usage_chunk(self, call: Call) -> Any:
        """Returns the chunk after the finish, which has the usage and no choices."""
        return self.envelope(call) | {"choices": [], "usage": call.usage}

    def write(self, payload: Any) -> bytes:
        """Returns the bytes of a payload in the stream."""
        return event(payload)

    def complaint(self, error: Mapping[str, Any]) -> dict[str, Any]:
        """Returns an error object for the stream."""
        return {"error": dict(error)}

    def told(self, call: Call) -> tuple[int, int] | None:
        """Returns the input and output counts last reported to the caller; None if there were none."""
        usage = call.usage
        return None if usage is None else (usage["prompt_tokens"], usage["completion_tokens"])


class NamedIds(Dialect):
    """OpenAI's own dialect, in which all responses have this id."""

    def __init__(self, id_: str) -> None:
        self.id = id_

    def envelope(self, call: Call) -> dict[str, Any]:
        """Replaces the id."""
        return super().envelope(call) | {"id": self.id}


class Vllm(Dialect):
    """Usage and token ids on every chunk if the request asks for them; reasoning in the field `reasoning`."""

    reasoning_field = "reasoning"

    def chunk(self, call: Call, content: Mapping[str, Any], **extra: Any) -> dict[str, Any]:
        """Adds the fields that the request asks for. A token's id is its position in the output plus 100."""
        chunk = super().chunk(call, content, **extra)
        if call.body.get("return_token_ids"):
            chunk["choices"][0]["token_ids"] = [99 + call.rendered_count] if content else []
            if not call.written:
                (chunk if call.chat else chunk["choices"][0])["prompt_token_ids"] = PROMPT_IDS
        if call.body.get("stream_options", {}).get("continuous_usage_stats"):
            call.usage = chunk["usage"] = self.usage(call)
        return chunk


class Sglang(Dialect):
    """Like vLLM, but ids are only in completions.

    The usage has a count of reasoning tokens at its top level.
    """

    def usage(
        self, call: Call, input_count: int | None = None, output_count: int | None = None
    ) -> dict[str, Any]:
        """Adds the reasoning tokens."""
        return super().usage(call, input_count, output_count) | {
            "prompt_tokens_details": None,
            "reasoning_tokens": call.rendered_reasoning,
        }

    def chunk(self, call: Call, content: Mapping[str, Any], **extra: Any) -> dict[str, Any]:
        """Adds the fields that the request asks for."""
        chunk = super().chunk(call, content, **extra)
        choice = chunk["choices"][0] | {"matched_stop": None}
        if call.body.get("return_token_ids") and not call.chat:
            choice["token_ids"] = [99 + call.rendered_count] if content else []
            if not call.written:
                choice["prompt_token_ids"] = PROMPT_IDS
        chunk["choices"] = [choice | extra]
        if call.body.get("stream_options", {}).get("continuous_usage_stats"):
            call.usage = chunk["usage"] = self.usage(call)
        return chunk

    def complaint(self, error: Mapping[str, Any]) -> dict[str, Any]:
        """Returns an error object with `object` set to "error"."""
        return {"error": {"object": "error", "param": None, **error}}


class LlamaCpp(Dialect):
    """Timings on every chunk if requested. The last chunk of a completion has finish reason and usage."""

    def chunk(self, call: Call, content: Mapping[str, Any], **extra: Any) -> dict[str, Any]:
        """Adds the timings. All but two tokens of the input were cached."""
        chunk = super().chunk(call, content, **extra) | {"system_fingerprint": "b1-abc"}
        if call.body.get("timings_per_token"):
            counts = {"cache_n": INPUT_TOKENS - 2, "prompt_n": 2, "predicted_n": call.rendered_count}
            chunk["timings"] = counts | {"predicted_ms": 1.5}
            if call.rendered_count:
                call.usage = self.usage(call)
        return chunk

    def finish_chunk(self, call: Call, reason: str, extra: Mapping[str, Any]) -> dict[str, Any]:
        """Adds the usage, in completions."""
        chunk = super().finish_chunk(call, reason, extra)
        if not call.chat:
            call.usage = chunk["usage"] = self.usage(call)
        return chunk


class Ollama(Dialect):
    """Reasoning in `reasoning`. With usage requested, every chunk of a completion has a usage of zeros."""

    reasoning_field = "reasoning"

    def chunk(self, call: Call, content: Mapping[str, Any], **extra: Any) -> dict[str, Any]:
        """Adds the zeros."""
        chunk = super().chunk(call, content, **extra) | {"system_fingerprint": "fp_ollama"}
        if not call.chat and call.body.get("stream_options", {}).get("include_usage"):
            chunk["usage"] = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        return chunk


class Tgi(Dialect):
    """An empty finish reason on each chunk of a completion. The last chunk has the usage."""

    keep_alive = b":\n\n"

    def choice(self, call: Call, content: Mapping[str, Any]) -> dict[str, Any]:
        """Returns a choice with an empty finish reason, in completions."""
        choice = super().choice(call, content)
        return choice if call.chat else choice | {"finish_reason": ""}

    def finish_chunk(self, call: Call, reason: str, extra: Mapping[str, Any]) -> dict[str, Any]:
        """Adds the usage, in completions, which also have other names for finish reasons."""
        if call.chat:
            return super().finish_chunk(call, reason, extra)
        chunk = super().finish_chunk(call, "eos_token" if reason == "stop" else reason, extra)
        call.usage = chunk["usage"] = self.usage(call)
        return chunk

    def complaint(self, error: Mapping[str, Any]) -> dict[str, Any]:
        """Returns an error object, whose status is always the same."""
        return {"error": {"message": error.get("message", ""), "http_status_code": 422}}


class LiteLlm(Dialect):
    """OpenAI's dialect, with statuses as text in error objects."""

    def complaint(self, error: Mapping[str, Any]) -> dict[str, Any]:
        """Returns an error object in which all fields are text."""
        texts = {"type": "None", "param": "None", "code": "500"} | dict(error)
        return {"error": {key: str(value) for key, value in texts.items()}}


OPENAI = Dialect()
VLLM = Vllm()
LLAMA_CPP = LlamaCpp()
OLLAMA = Ollama()
SGLANG = Sglang()
TGI = Tgi()
LITELLM = LiteLlm()
