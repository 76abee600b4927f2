"""Maps the finish reasons of servers to tokengrpc's: one table."""

from __future__ import annotations

from tokengrpc.core.model import EngineFinish, FinishReason
from tokengrpc.core.text import encodable
from tokengrpc.errors import EngineAborted

# Finish reasons of a regular end, in lower case. All others are reported as OTHER.
FINISH_REASONS = {
    "stop": FinishReason.END,
    "eos": FinishReason.END,
    "eos_token": FinishReason.END,  # TGI
    "end_turn": FinishReason.END,
    "stop_sequence": FinishReason.STOP_SEQUENCE,  # TGI, Anthropic
    "length": FinishReason.MAX_TOKENS,
    "max_tokens": FinishReason.MAX_TOKENS,
    "model_length": FinishReason.CONTEXT_LENGTH,  # Mistral
    "model_context_window_exceeded": FinishReason.CONTEXT_LENGTH,  # Anthropic
    "tool_calls": FinishReason.TOOL_CALLS,
    "tool_use": FinishReason.TOOL_CALLS,  # Anthropic
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
    "refusal": FinishReason.REFUSAL,  # Anthropic
}

# Finish reasons of a generation that the engine aborted. vLLM still sends `[DONE]` after them (vllm#57082).
ABORT_REASONS = frozenset(
    {
        "abort",
        "aborted",
        "cancelled",
        "canceled",
        "error",
        "repetition",  # vLLM
        "insufficient_system_resource",  # DeepSeek
    }
)

# With these reasons a server may report the stop sequence that was matched.
_STOPS = frozenset({FinishReason.END, FinishReason.STOP_SEQUENCE})

# The contract's bound on `Finished.engine_finish_reason`.
_WORD_CHARACTERS = 64


def read_finish(engine: str, reason: str, stop: object = None) -> EngineFinish:
    """Returns the finish for a server's finish reason. `stop` is the matched stop that the server reports.

    Raises EngineAborted if the reason says that the engine aborted the generation.
    """
    word = encodable(reason[:_WORD_CHARACTERS])
    if word.lower() in ABORT_REASONS:
        raise EngineAborted(
            f'engine {engine} aborted the generation with the finish reason "{word}"; '
            "start again under a new id"
        )
    mapped = FINISH_REASONS.get(word.lower(), FinishReason.OTHER)
    if mapped in _STOPS and isinstance(stop, str) and stop:
        return EngineFinish(reason=FinishReason.STOP_SEQUENCE, word=word, matched_stop=encodable(stop))
    return EngineFinish(reason=mapped, word=word)


def refine_finish_reason(finish: EngineFinish, *, called: bool, refused: bool) -> EngineFinish:
    """Returns the finish, corrected by the output: some servers say "stop" after tool calls and refusals."""
    if finish.reason is not FinishReason.END or not (called or refused):
        return finish
    reason = FinishReason.TOOL_CALLS if called else FinishReason.REFUSAL
    return EngineFinish(reason=reason, word=finish.word)
