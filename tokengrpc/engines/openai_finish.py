"""Why servers say that an output ended, as our reasons: one table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokengrpc.decoding import encodable
from tokengrpc.errors import EngineAborted
from tokengrpc.model import EngineFinish, FinishReason

if TYPE_CHECKING:
    from tokengrpc.engines.openai_wire import Choice

# Words for a proper end, in lower case. Others are passed on as OTHER.
FINISH_REASONS = {
    "stop": FinishReason.END,
    "eos": FinishReason.END,
    "eos_token": FinishReason.END,  # TGI
    "end_turn": FinishReason.END,
    "stop_sequence": FinishReason.STOP_SEQUENCE,  # TGI
    "length": FinishReason.MAX_TOKENS,
    "max_tokens": FinishReason.MAX_TOKENS,
    "model_length": FinishReason.CONTEXT_LENGTH,  # Mistral
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
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

# The contract's bound on the engine's own word.
_WORD_CHARACTERS = 64


def read_finish(engine: str, choice: Choice) -> EngineFinish | None:
    """The finish that a chunk tells, if any. Raises EngineAborted when it says that the engine gave up."""
    if not choice.finish_reason:
        return None
    word = encodable(choice.finish_reason[:_WORD_CHARACTERS])
    if word.lower() in ABORT_REASONS:
        raise EngineAborted(
            f'engine {engine} gave up with the finish reason "{word}"; start again under a new id'
        )
    reason = FINISH_REASONS.get(word.lower(), FinishReason.OTHER)
    stop = choice.stop_reason if isinstance(choice.stop_reason, str) else choice.matched_stop
    if reason is FinishReason.END and isinstance(stop, str) and stop:
        return EngineFinish(reason=FinishReason.STOP_SEQUENCE, word=word, matched_stop=encodable(stop))
    return EngineFinish(reason=reason, word=word)


def judge(finish: EngineFinish, *, called: bool, refused: bool) -> EngineFinish:
    """The finish in the light of the output: some say "stop" for tool calls and refusals."""
    if finish.reason is not FinishReason.END or not (called or refused):
        return finish
    reason = FinishReason.TOOL_CALLS if called else FinishReason.REFUSAL
    return EngineFinish(reason=reason, word=finish.word)
