"""Why servers say that an output ended, as our reasons: one table."""

from __future__ import annotations

from tokengrpc.core.model import EngineFinish, FinishReason
from tokengrpc.core.text import encodable
from tokengrpc.errors import EngineAborted

# Words for a proper end, in lower case. Others are passed on as OTHER.
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

# Words that say that the engine gave up. vLLM sends `[DONE]` all the same (vllm#57082).
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

# With these the stop sequence that was met may be told.
_STOPS = frozenset({FinishReason.END, FinishReason.STOP_SEQUENCE})

# The contract's bound on the engine's own word.
_WORD_CHARACTERS = 64


def read_finish(engine: str, reason: str, stop: object = None) -> EngineFinish:
    """The finish that a server tells by its own word; `stop` is what it says of a stop that was met.

    Raises EngineAborted when the word says that the engine gave up.
    """
    word = encodable(reason[:_WORD_CHARACTERS])
    if word.lower() in ABORT_REASONS:
        raise EngineAborted(
            f'engine {engine} gave up with the finish reason "{word}"; start again under a new id'
        )
    found = FINISH_REASONS.get(word.lower(), FinishReason.OTHER)
    if found in _STOPS and isinstance(stop, str) and stop:
        return EngineFinish(reason=FinishReason.STOP_SEQUENCE, word=word, matched_stop=encodable(stop))
    return EngineFinish(reason=found, word=word)


def refine_finish_reason(finish: EngineFinish, *, called: bool, refused: bool) -> EngineFinish:
    """The finish in the light of the output: some say "stop" for tool calls and refusals."""
    if finish.reason is not FinishReason.END or not (called or refused):
        return finish
    reason = FinishReason.TOOL_CALLS if called else FinishReason.REFUSAL
    return EngineFinish(reason=reason, word=finish.word)
