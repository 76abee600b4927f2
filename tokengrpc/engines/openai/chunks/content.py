"""Text, reasoning and refusals in the shapes in which servers send them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tokengrpc.engines.openai.calls.shapes import call_in_part

if TYPE_CHECKING:
    from tokengrpc.engines.openai.schema import MessageDelta, ToolCall

# Marks in the `type` of a part that holds reasoning: "reasoning_text", "thinking", "thought", "summary_text".
_REASONING_MARKS = ("reason", "think", "thought", "summary")

# Channels of gpt-oss and words of others for a whole delta that is reasoning.
_REASONING_CHANNELS = ("analysis", "reason", "think", "thought")

# Marks in the `type` of a part that is output of another kind, and what it is called in logs and errors.
_MEDIA = {"image": "image", "audio": "audio", "video": "video", "file": "file", "document": "file"}

# Marks in the `type` of a part that is no output of the model, unless it has a `text`.
_OTHER_MARKS = ("tool", "function", "cit", "reference", "search", "code_inter", "annotation")

# Keys under which a part holds text. The first that is not empty counts, because several hold the same.
_TEXT_KEYS = ("text", "content", "value")
_MEDIA_TEXT_KEYS = ("text", "transcript", "audio", "output_audio", "input_audio")
_REASONING_KEYS = ("text", "thinking", "reasoning_content", "reasoning", "content", "summary", "value")
_REFUSAL_KEYS = ("refusal", "text", "content", "value")


# Text, reasoning and refusal of a message or of a piece of it.
Content = tuple[str, str, str]


class OtherOutput:
    """What a content has besides text: tool calls, and the kinds of output that cannot be relayed."""

    __slots__ = ("calls", "kinds")

    def __init__(self) -> None:
        self.calls: list[ToolCall] = []
        self.kinds: set[str] = set()


def read_content(body: MessageDelta, other: OtherOutput) -> Content:
    """Returns text, reasoning and refusal. Raises ValueError for a part that cannot be read.

    What else there is, is added to `other`.
    """
    text = body.content or body.text or ""
    reasoning = _read_reasoning(body)
    refusal = body.refusal or ""
    if not isinstance(refusal, str):
        refusal = _flatten(refusal, _REFUSAL_KEYS)
    if body.images or body.audio:
        transcript = _read_media(body, other)
        text = text or transcript
    if not isinstance(text, str):
        text, more_reasoning, more_refusal = _join_parts(text if isinstance(text, list) else [text], other)
        if more_reasoning != reasoning:
            reasoning += more_reasoning
        refusal += more_refusal
    if (body.type or body.channel) and text and _is_reasoning(body):
        return "", reasoning + text if text != reasoning else text, refusal
    return text, reasoning, refusal


def _is_reasoning(body: MessageDelta) -> bool:
    """Returns whether a delta says that its content is reasoning."""
    words = f"{body.type or ''} {body.channel or ''}".lower()
    return any(mark in words for mark in _REASONING_CHANNELS)


def _read_media(body: MessageDelta, other: OtherOutput) -> str:
    """Notes images and sound, and returns the text that the sound says."""
    if body.images:
        other.kinds.add("image")
    audio = body.audio
    if isinstance(audio, dict):
        if audio.get("data"):
            other.kinds.add("audio")
        return _flatten(audio.get("transcript"), _TEXT_KEYS)
    if audio:
        other.kinds.add("audio")
    return ""


def _read_reasoning(body: MessageDelta) -> str:
    """Returns the reasoning. A server that fills several of the fields sends the same in each."""
    usual = body.reasoning_content or body.reasoning
    if usual and isinstance(usual, str):
        return usual
    for value in (
        body.reasoning_content,
        body.reasoning,
        body.reasoning_text,
        body.thinking,
        body.reasoning_details,
        body.thinking_blocks,
    ):
        if value:
            text = value if isinstance(value, str) else _flatten(value, _REASONING_KEYS)
            if text:
                return text
    return ""


def _join_parts(parts: list[Any], other: OtherOutput) -> Content:
    text = reasoning = refusal = ""
    for part in parts:
        if isinstance(part, str):
            text += part
        elif isinstance(part, dict):
            kind = str(part.get("type") or "").lower()
            if part.get("thought") is True or any(mark in kind for mark in _REASONING_MARKS):
                reasoning += _flatten(part, _REASONING_KEYS)
            elif "refusal" in kind:
                refusal += _flatten(part, _REFUSAL_KEYS)
            else:
                text += _read_part(part, kind, other)
        elif isinstance(part, int) and not isinstance(part, bool):
            text += str(part)
        elif part is not None:
            raise ValueError("a part of the content is neither text nor an object")
    return text, reasoning, refusal


def _read_part(part: dict[str, Any], kind: str, other: OtherOutput) -> str:
    """Returns the answer text of a part. Notes a tool call, and output that is no text."""
    call = call_in_part(part)
    if call is not None:
        other.calls.append(call)
        return ""
    media = next((name for mark, name in _MEDIA.items() if mark in kind), "")
    if media:
        other.kinds.add(media)
        return _flatten(part, _MEDIA_TEXT_KEYS)
    if any(mark in kind for mark in _OTHER_MARKS):
        return _flatten(part, ("text",))
    text = _flatten(part, _TEXT_KEYS)
    if not text and "text" not in kind and any(value for key, value in part.items() if key != "type"):
        other.kinds.add("part of an unknown type")
    return text


def _flatten(value: object, keys: tuple[str, ...]) -> str:
    """Returns the text of a string, of a list of parts, or under the first of `keys` that has text."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_flatten(item, keys) for item in value)
    if isinstance(value, dict):
        for key in keys:
            text = _flatten(value.get(key), keys)
            if text:
                return text
    return ""
