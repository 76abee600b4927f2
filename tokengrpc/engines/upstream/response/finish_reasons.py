"""Maps the finish reasons of servers to tokengrpc's: one table."""

from __future__ import annotations

from tokengrpc.core.model import EngineFinish, FinishReason
from tokengrpc.core.text import encodable
from tokengrpc.errors import AnswerPaused, EngineAborted

# Finish reasons of a regular end, in lower case. A word that is neither here nor of a family below is OTHER.
FINISH_REASONS = {
    "stop": FinishReason.END,
    "stopped": FinishReason.END,
    "eos": FinishReason.END,
    "eos_token": FinishReason.END,  # TGI
    "end_turn": FinishReason.END,
    "end": FinishReason.END,
    "complete": FinishReason.END,  # Cohere
    "completed": FinishReason.END,
    "finished": FinishReason.END,
    "done": FinishReason.END,
    "stop_sequence": FinishReason.STOP_SEQUENCE,  # TGI, Anthropic
    "length": FinishReason.MAX_TOKENS,
    "max_tokens": FinishReason.MAX_TOKENS,
    "model_length": FinishReason.CONTEXT_LENGTH,  # Mistral
    "model_context_window_exceeded": FinishReason.CONTEXT_LENGTH,  # Anthropic
    "tool_calls": FinishReason.TOOL_CALLS,
    "tool_call": FinishReason.TOOL_CALLS,
    "toolcalls": FinishReason.TOOL_CALLS,
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
        "network_error",  # Zhipu
    }
)

# Finish reasons of an answer that the engine has interrupted: the rest needs a request that repeats the text
# and the calls of the engine's own tools, for which the contract has no place. Source: Anthropic's
# documentation, "Stop reasons and fallback" and "Compaction".
PAUSE_REASONS = frozenset({"pause_turn", "compaction"})

# Families of words that no table above lists. A word belongs to the first family of which it contains a mark.
# Zhipu sends "sensitive"; Gemini "SAFETY", "RECITATION", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII",
# "MALFORMED_FUNCTION_CALL"; Bedrock "guardrail_intervened"; TensorRT-LLM "timed_out"; others
# "max_output_tokens", "server_error", "internalError" and the like.
_FILTER_MARKS = (
    *("filter", "sensitive", "safety", "unsafe", "moderat", "polic", "prohibited", "blocked", "blocklist"),
    *("inappropriate", "toxic", "nsfw", "sexual", "violen", "copyright"),
    *("recitation", "spii", "guardrail", "censor", "harmful", "flagged", "violat", "profan"),
)
_FAILURE_MARKS = (
    *("error", "fail", "abort", "cancel", "timeout", "timed_out", "timedout", "exception", "crash"),
    *("interrupt", "unavailable", "overload", "disconnect", "broken", "malformed", "out_of_memory", "killed"),
    *(
        "preempt",
        "insufficient",
        "evict",
        "terminat",
        "shutdown",
        "rate_limit",
        "quota",
        "network",
        "connection",
    ),
)
_FAMILIES: tuple[tuple[tuple[str, ...], FinishReason | None], ...] = (
    (_FILTER_MARKS, FinishReason.CONTENT_FILTER),
    (_FAILURE_MARKS, None),
    (("refus",), FinishReason.REFUSAL),
    (("context", "model_length", "window"), FinishReason.CONTEXT_LENGTH),
    (
        ("length", "token_limit", "max_token", "max_output", "max_new", "max_completion", "maxtokens"),
        FinishReason.MAX_TOKENS,
    ),
    (("stop_seq", "stop_str", "stop_word"), FinishReason.STOP_SEQUENCE),
    (("end_of", "eos", "stop_token"), FinishReason.END),
)

# The name of the enumeration before the word, as Gemini and Python's `str(FinishReason.STOP)` write it.
_PREFIXES = ("finish_reason_", "finishreason.", "stop_reason_", "stopreason.")

# Words that some servers send in every chunk before the end. They say nothing.
_NO_REASON = frozenset({"none", "null", "unspecified", "finish_reason_unspecified"})

# How much each reason says, the least first: a proxy's "stop" must not hide what the server behind it said.
_STRENGTH = {
    reason: strength
    for strength, reason in enumerate(
        (
            FinishReason.END,
            FinishReason.STOP_SEQUENCE,
            FinishReason.OTHER,
            FinishReason.TOOL_CALLS,
            FinishReason.MAX_TOKENS,
            FinishReason.CONTEXT_LENGTH,
            FinishReason.REFUSAL,
            FinishReason.CONTENT_FILTER,
        )
    )
}

# With these reasons a server may report the stop sequence that was matched.
_STOPS = frozenset({FinishReason.END, FinishReason.STOP_SEQUENCE})

# The contract's bound on `Finished.engine_finish_reason`.
_WORD_CHARACTERS = 64


# Reasons with which an answer is not whole.
_CUT = frozenset(
    {
        FinishReason.MAX_TOKENS,
        FinishReason.CONTEXT_LENGTH,
        FinishReason.REFUSAL,
        FinishReason.CONTENT_FILTER,
    }
)


def read_finish(
    engine: str, reason: str, stop: object = None, native: str | None = None
) -> EngineFinish | None:
    """Returns the finish for a server's finish reason, or None for a word that says nothing.

    `stop` is the matched stop that the server reports. `native` is the word of the provider behind a proxy,
    which decides where it says that the answer is not whole: proxies turn words that they do not know into a
    plain stop. Raises EngineAborted if a reason says that the engine aborted the generation, AnswerPaused if
    it says that the engine has not finished its answer.
    """
    finish = _read_word(engine, reason, stop)
    if finish is not None and native:
        told = _read_word(engine, native)
        if told is not None and told.reason in _CUT:
            return stronger_finish(told, finish)
    return finish


def _read_word(engine: str, reason: str, stop: object = None) -> EngineFinish | None:
    word = encodable(reason[:_WORD_CHARACTERS])
    if word.lower() in _NO_REASON:
        return None
    if word.lower() in PAUSE_REASONS:
        raise AnswerPaused(
            f'engine {engine} paused before its answer was complete (finish reason "{word}"), and this '
            "server does not request the rest; start again, with fewer of the engine's own tools"
        )
    mapped = _reason_of(word.lower())
    if mapped is None:
        raise EngineAborted(
            f'engine {engine} aborted the generation with the finish reason "{word}"; '
            "start again under a new id"
        )
    if mapped in _STOPS and isinstance(stop, str) and stop:
        return EngineFinish(reason=FinishReason.STOP_SEQUENCE, word=word, matched_stop=encodable(stop))
    return EngineFinish(reason=mapped, word=word)


def _reason_of(word: str) -> FinishReason | None:
    """Returns the reason for a word in lower case, or None if it says that the engine aborted."""
    if word in ABORT_REASONS:
        return None
    known = FINISH_REASONS.get(word)
    if known is not None:
        return known
    joined = word.replace("-", "_").replace(" ", "_")
    for prefix in _PREFIXES:
        joined = joined.removeprefix(prefix)
    for marks, reason in _FAMILIES:
        if any(mark in joined for mark in marks):
            return reason
    return FINISH_REASONS.get(joined, FinishReason.OTHER)


def stronger_finish(before: EngineFinish, after: EngineFinish) -> EngineFinish:
    """Returns the finish whose reason says more. If both say the same, `after`."""
    return before if _STRENGTH[before.reason] > _STRENGTH[after.reason] else after


def refine_finish_reason(finish: EngineFinish, *, called: bool, refused: bool) -> EngineFinish:
    """Returns the finish, corrected by the output: some servers say "stop" after tool calls and refusals."""
    if finish.reason is not FinishReason.END or not (called or refused):
        return finish
    reason = FinishReason.TOOL_CALLS if called else FinishReason.REFUSAL
    return EngineFinish(reason=reason, word=finish.word)
