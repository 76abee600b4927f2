"""The request of a caller, validated and frozen. The contract's .proto files define meanings and bounds.

Durations are in seconds. None means unset: the engine's or the server's default applies.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from tokengrpc.core.engine_key import NO_KEY, EngineKey
from tokengrpc.core.tenant import Priority
from tokengrpc.core.trace import NO_TRACE, TraceContext

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Role(StrEnum):
    """Author of a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPart:
    """Text of a message."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePart:
    """An image of a user's message: `uri`, or `data` with its `media_type`."""

    uri: str = ""
    data: bytes = b""
    media_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallPart:
    """Tool call that the assistant made; `arguments` is JSON text as the model wrote it.

    `opaque` is sent back to the engine unchanged.
    """

    id: str
    function_name: str
    arguments: str
    opaque: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResultPart:
    """Result of a tool call."""

    tool_call_id: str
    text: str
    is_error: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningPart:
    """Reasoning of the assistant; `opaque` is sent back to the engine unchanged."""

    text: str
    opaque: bytes


_MANY_PARTS = 500
_MANY_IDS = 50_000

Part = TextPart | ImagePart | ToolCallPart | ToolResultPart | ReasoningPart


def _length(part: Part) -> int:
    if isinstance(part, ToolCallPart):
        return len(part.function_name) + len(part.arguments)
    return 0 if isinstance(part, ImagePart) else len(part.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a conversation. `length` is the number of characters that count as input."""

    role: Role
    parts: tuple[Part, ...]
    length: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Computes the length, which is needed several times on the event loop."""
        object.__setattr__(self, "length", sum(map(_length, self.parts)))

    @property
    def text(self) -> str:
        """All text parts, joined in order."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Sampling parameters."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    stop_sequences: tuple[str, ...] = ()
    logit_bias: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasoning:
    """Amount of reasoning; `effort` is none, low, medium or high."""

    effort: str | None = None
    token_budget: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """Details of each token to send in addition to its text.

    `token_ids_optional` says that no reader asks for the ids: an answer without them is complete.
    """

    top_logprob_count: int | None = None
    token_ids: bool = False
    token_ids_optional: bool = False
    raw_bytes: bool = False
    omit_reasoning: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """Function that the model may call; `parameters_json_schema` is JSON text or empty."""

    name: str
    description: str = ""
    parameters_json_schema: str = ""
    strict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolChoice:
    """Choice of the tools to call; `mode` is auto, none, required or function."""

    mode: str = "auto"
    function_name: str = ""
    disable_parallel_calls: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputConstraint:
    """Format that the output must match: exactly one field is not None."""

    json_schema: str | None = None
    regex: str | None = None
    grammar: str | None = None
    choices: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Time limits, in seconds. `deadline_action` is fail, partial, or None if unset."""

    time_limit: float | None = None
    first_token_timeout: float | None = None
    inter_token_timeout: float | None = None
    connect_timeout: float | None = None
    deadline_action: str | None = None
    deadline_margin: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Behaviour when all readers have left or an engine is lost."""

    detach: bool = False
    detach_ttl: float | None = None
    replay_ttl: float | None = None
    max_engine_switch_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """Request for one generation. Exactly one of `prompt`, `messages`, `prompt_token_ids` is not None.

    Two requests are equal if and only if their fingerprints are; `priority` and `flush_interval` are no part
    of it. `record_id` is the key of the generation in the usage ledger. `trace` is the place in a trace to
    hand on to the engine. `flush_interval` is that of the stream that the request asks for, in seconds.
    `engine_key` is the caller's own key for engines. `encoded` is the request as bytes, if they are kept for
    other servers.
    """

    generation_id: str = ""
    model: str = ""
    prompt: str | None = None
    messages: tuple[Message, ...] | None = None
    prompt_token_ids: tuple[int, ...] | None = None
    max_output_token_count: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    reasoning: Reasoning = field(default_factory=Reasoning)
    output: OutputOptions = field(default_factory=OutputOptions)
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = field(default_factory=ToolChoice)
    constraint: OutputConstraint | None = None
    limits: Limits = field(default_factory=Limits)
    recovery: Recovery = field(default_factory=Recovery)
    engine_params: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    session_id: str = ""
    priority: Priority = Priority.STANDARD
    flush_interval: float | None = None
    fingerprint: bytes = b""
    record_id: str = ""
    engine_key: EngineKey = NO_KEY
    trace: TraceContext = NO_TRACE
    encoded: bytes = field(default=b"", repr=False)

    @property
    def operation(self) -> str:
        """What is asked for, in OpenTelemetry's words: `chat` or `text_completion`."""
        return "text_completion" if self.messages is None else "chat"

    @property
    def owns_deadline(self) -> bool:
        """Whether the starting call's deadline ends the generation, not just that call's stream."""
        return not self.recovery.detach or self.limits.deadline_action is not None

    @property
    def is_large(self) -> bool:
        """Whether it has so many parts that converting them takes more than a millisecond."""
        if self.prompt_token_ids is not None:
            return len(self.prompt_token_ids) > _MANY_IDS
        messages = self.messages or ()
        return len(messages) + sum(len(message.parts) for message in messages) > _MANY_PARTS

    @property
    def has_image(self) -> bool:
        """Whether a message contains an image."""
        return any(True for _ in self._images())

    @property
    def has_image_uri(self) -> bool:
        """Whether a message contains an image that must be fetched from an address."""
        return any(image.uri and not image.uri.startswith("data:") for image in self._images())

    def _images(self) -> Iterator[ImagePart]:
        for message in self.messages or ():
            yield from (part for part in message.parts if isinstance(part, ImagePart))


def without_input(request: GenerationRequest) -> GenerationRequest:
    """Returns the request without large fields and fields of many objects, to be kept for long."""
    return replace(
        _NOTHING,
        generation_id=request.generation_id,
        model=request.model,
        recovery=request.recovery,
        labels=request.labels,
        fingerprint=request.fingerprint,
        record_id=request.record_id,
    )


_NOTHING = GenerationRequest(prompt="")
