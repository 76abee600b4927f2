"""The JSON of Anthropic's Messages API as structs: the events of a stream, or a complete message.

Source: anthropic-sdk-python 0.121, types/raw_*_event.py, usage.py, message_delta_usage.py, stop_reason.py.
Any field may be missing or null. Unknown fields and unknown types are skipped.
Events whose fields have other types are decoded by `decoding`.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

# The contract's range for counts (int32). A larger value is treated as malformed.
_Natural = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class OutputDetails(msgspec.Struct, gc=False):
    """Parts of the output tokens."""

    thinking_tokens: _Natural | None = None


class Usage(msgspec.Struct, gc=False):
    """Cumulative counts. `input_tokens` excludes the tokens that were read from or written to the cache."""

    input_tokens: _Natural | None = None
    cache_read_input_tokens: _Natural | None = None
    cache_creation_input_tokens: _Natural | None = None
    output_tokens: _Natural | None = None
    output_tokens_details: OutputDetails | None = None


class Block(msgspec.Struct, gc=False):
    """A content block, either its start or complete: text, thinking, redacted_thinking, tool_use."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None


class EventDelta(msgspec.Struct, gc=False):
    """The `delta` of a block (`type` text_delta, …) or of the message (`stop_reason`).

    Some proxies send the usage here.
    """

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: Usage | None = None


class Message(msgspec.Struct, gc=False):
    """The message in a `message_start` event; some proxies repeat it in `message_stop`.

    The API sends it without content and stop reason.
    """

    id: Any = None
    model: Any = None
    usage: Usage | None = None
    content: list[Block] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None


class Event(msgspec.Struct, gc=False):
    """One event of a stream, or, with `type` message, a complete response that is not streamed.

    `completion` and `stop` are fields of the legacy API of text completions.
    """

    type: str = ""
    id: Any = None
    model: Any = None
    index: int = 0
    message: Message | None = None
    content_block: Block | None = None
    delta: EventDelta | None = None
    usage: Usage | None = None
    content: list[Block] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    completion: str | None = None
    stop: str | None = None
