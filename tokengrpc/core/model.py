"""The values that flow from an engine to a reader. What they mean is written in the contract's .proto files.

Structs of msgspec where one is made per token (a frozen dataclass costs four times as much), and gc=False on
those: they hold no cycles.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import NamedTuple

import msgspec


class GenerationKey(NamedTuple):
    """Identifies a generation: ids are unique within a tenant only."""

    tenant: str
    generation_id: str


class FinishReason(StrEnum):
    """Why a generation ended."""

    END = "END"
    STOP_SEQUENCE = "STOP_SEQUENCE"
    MAX_TOKENS = "MAX_TOKENS"
    CONTEXT_LENGTH = "CONTEXT_LENGTH"
    TOOL_CALLS = "TOOL_CALLS"
    CONTENT_FILTER = "CONTENT_FILTER"
    REFUSAL = "REFUSAL"
    TIME_LIMIT = "TIME_LIMIT"
    DEADLINE = "DEADLINE"
    OTHER = "OTHER"
    CANCELLED = "CANCELLED"
    ERROR = "ERROR"


class State(StrEnum):
    """Where a generation stands."""

    QUEUED = "QUEUED"
    PREFILLING = "PREFILLING"
    GENERATING = "GENERATING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self in _ENDED


_ENDED = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})


class UsageSource(IntEnum):
    """Who counted; the weakest of several sources is the greatest."""

    ENGINE = 1
    COUNTED = 2
    ESTIMATED = 3


class Capability(StrEnum):
    """Something that a request can ask of an engine."""

    PROMPT = "PROMPT"
    CONVERSATION = "CONVERSATION"
    PROMPT_TOKEN_IDS = "PROMPT_TOKEN_IDS"
    TOOLS = "TOOLS"
    IMAGES = "IMAGES"
    REASONING = "REASONING"
    LOGPROBS = "LOGPROBS"
    TOKEN_IDS = "TOKEN_IDS"
    RAW_BYTES = "RAW_BYTES"
    JSON_SCHEMA = "JSON_SCHEMA"
    REGEX = "REGEX"
    GRAMMAR = "GRAMMAR"
    CHOICES = "CHOICES"
    CONTINUE_TOKEN_IDS = "CONTINUE_TOKEN_IDS"
    CONTINUE_TEXT = "CONTINUE_TEXT"


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Cumulative tokens consumed and produced."""

    input: int = 0
    output: int = 0
    cached_input: int = 0
    cache_write_input: int = 0
    reasoning: int = 0
    overhead: int = 0
    source: UsageSource = UsageSource.ESTIMATED


class UsageReport(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Cumulative counts that an engine told; None for what it did not tell."""

    input: int | None = None
    output: int | None = None
    cached_input: int | None = None
    cache_write_input: int | None = None
    reasoning: int | None = None


class TopLogprob(msgspec.Struct, frozen=True, gc=False):
    """A token that could have stood at a place; `raw` and `id` where the engine tells them."""

    text: str
    logprob: float
    id: int | None = None
    raw: bytes | None = None


class ToolCallFragment(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A piece of a tool call; `id` and `function_name` only on a call's first one."""

    call_index: int
    id: str = ""
    function_name: str = ""
    arguments: str = ""


class EngineFinish(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A proper end as an engine told it: our reason, the engine's own word, the stop sequence if known."""

    reason: FinishReason
    word: str = ""
    matched_stop: str = ""


class Delta(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What an engine produced at once, as much as it knew.

    `count` is the number of model tokens it stands for: None when the engine did not tell, 0 for one that
    carries none. `text` may hold half a surrogate pair, `raw` half a character; whole characters are made of
    them later. A delta with `raw` and `text` None takes its text from `raw`. `prompt_ids` is the input as the
    engine tokenized it, told at most once, where `output.token_ids` asks for ids. `opaque` is what the engine
    wants back with the reasoning before it, as `ReasoningPart.opaque`.
    """

    text: str | None = ""
    reasoning: str = ""
    refusal: str = ""
    count: int | None = None
    id: int | None = None
    logprob: float | None = None
    top_logprobs: tuple[TopLogprob, ...] = ()
    raw: bytes | None = None
    fragments: tuple[ToolCallFragment, ...] = ()
    usage: UsageReport | None = None
    finish: EngineFinish | None = None
    prompt_ids: tuple[int, ...] | None = None
    opaque: bytes = b""


class ContinuationMethod(StrEnum):
    """How an engine goes on from another's output."""

    TOKEN_IDS = "TOKEN_IDS"
    TEXT_PREFILL = "TEXT_PREFILL"


class Switch(msgspec.Struct, frozen=True, kw_only=True):
    """Another engine goes on; `reason` is that of the error by which the one before was lost."""

    from_engine: str
    to_engine: str
    reason: str
    method: ContinuationMethod


class Token(msgspec.Struct, frozen=True, gc=False):
    """A generated token with whole characters only; `id`, `logprob` and `raw` where they were asked for.

    `opaque` as in Delta.
    """

    index: int
    count: int
    text: str
    reasoning: str = ""
    refusal: str = ""
    id: int | None = None
    logprob: float | None = None
    top_logprobs: tuple[TopLogprob, ...] = ()
    raw: bytes | None = None
    opaque: bytes = b""
