"""The values that flow from an engine to a reader. The contract's .proto files define their meaning.

Values that are made once per token are msgspec structs (a frozen dataclass costs four times as much) with
gc=False, because they contain no cycles.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import NamedTuple

import msgspec


class GenerationKey(NamedTuple):
    """Key of a generation; ids are unique within a tenant only."""

    tenant: str
    generation_id: str


class Cursor(NamedTuple):
    """What a reader has of a generation: all events up to `sequence`.

    `log_incarnation` and `checksum` (of all output that it has) are compared with those of the log, unless
    they are empty or None.
    """

    sequence: int
    log_incarnation: str = ""
    checksum: int | None = None


class FinishReason(StrEnum):
    """Reason for which a generation ended."""

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
    """State of a generation."""

    QUEUED = "QUEUED"
    PREFILLING = "PREFILLING"
    GENERATING = "GENERATING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def ended(self) -> bool:
        """Whether the state is final."""
        return self in _ENDED


_ENDED = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})


class Durability(StrEnum):
    """What holds before a reader sees an event: where it is kept."""

    MEMORY = "MEMORY"
    REPLICATED = "REPLICATED"
    FSYNCED = "FSYNCED"


class LogIdentity(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The log of a generation's events. A log that is made anew under the same id has another incarnation."""

    incarnation: str = ""
    durability: Durability = Durability.MEMORY


class UsageSource(IntEnum):
    """Origin of a token count, from most to least reliable; the source of a sum is the maximum."""

    ENGINE = 1
    COUNTED = 2
    ESTIMATED = 3


class Capability(StrEnum):
    """Feature that a request can ask an engine for."""

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


class Cost(msgspec.Struct, frozen=True, gc=False):
    """Cost of a usage, in millionths of a currency.

    `price_version` names the price, or prices joined by `+`; it is empty in a sum of several versions.
    """

    amount_micros: int
    currency: str
    price_version: str = ""


class UsageReport(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Cumulative counts that an engine reported; None for counts that it did not report."""

    input: int | None = None
    output: int | None = None
    cached_input: int | None = None
    cache_write_input: int | None = None
    reasoning: int | None = None


class TopLogprob(msgspec.Struct, frozen=True, gc=False):
    """Candidate token at one position; `raw` and `id` are set if the engine reports them."""

    text: str
    logprob: float
    id: int | None = None
    raw: bytes | None = None


class ToolCallFragment(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Piece of a tool call; `id` and `function_name` are set on the first piece of a call only.

    `opaque` is what the engine requires back with the call. The last non-empty one of a call counts.
    """

    call_index: int
    id: str = ""
    function_name: str = ""
    arguments: str = ""
    opaque: bytes = b""


class EngineFinish(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Proper end that an engine reported.

    `word` is the engine's own finish reason, `matched_stop` the stop sequence if known.
    """

    reason: FinishReason
    word: str = ""
    matched_stop: str = ""


class Delta(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Output that an engine produced at once, with as many details as the engine reported.

    `count` is the number of model tokens in the delta: None if the engine did not report it, 0 for a delta
    without tokens. `text` may end in half a surrogate pair, and `raw` within a character: characters are
    assembled later. If `text` is None, the text is decoded from `raw`. `prompt_ids` is the input as the
    engine tokenized it, sent at most once, if `output.token_ids` asks for ids. `opaque` is data that the
    engine needs back together with the reasoning before it, as `ReasoningPart.opaque`. `response_id` is the
    id that the engine gave its response, in a delta of its own with the count 0; of several, the last counts.
    `response_model` is the name that the engine gave its model there, in the same delta or another such one.
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
    response_id: str = ""
    response_model: str = ""


class ContinuationMethod(StrEnum):
    """Method by which an engine continues another engine's output."""

    TOKEN_IDS = "TOKEN_IDS"
    TEXT_PREFILL = "TEXT_PREFILL"


class Switch(msgspec.Struct, frozen=True, kw_only=True):
    """Continuation by another engine, or by the same one if only its server was lost.

    `reason` is that of the error of the engine or server before.
    """

    from_engine: str
    to_engine: str
    reason: str
    method: ContinuationMethod

    @property
    def counts(self) -> bool:
        """Whether it counts for the request's `max_engine_switch_count`."""
        return self.from_engine != self.to_engine


class Token(msgspec.Struct, frozen=True, gc=False):
    """Generated token with whole characters only; `id`, `logprob` and `raw` are set if asked for.

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
