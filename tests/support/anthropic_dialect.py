"""The events of Anthropic's Messages API.

Sources: anthropic-sdk-python 0.121, types/raw_*_event.py, and the documentation page "Streaming Messages".
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.support.wire_dialects import INPUT_TOKENS, Dialect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.support.scripted_engine import Call

    Event = dict[str, Any]

# Reported separately: Anthropic's input count excludes cached tokens.
CACHED_TOKENS = 2

# Anthropic's stop reason for each finish reason of a script.
_WORDS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}

# For each kind of text: the type of its block, the type of its deltas, and the field that holds the text.
_KINDS = {
    "text": ("text", "text_delta", "text"),
    "refusal": ("text", "text_delta", "text"),
    "reasoning": ("thinking", "thinking_delta", "thinking"),
}


class Anthropic(Dialect):
    """Content blocks that start and stop.

    The input usage comes first, the output usage with the stop reason.
    """

    end_mark = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    keep_alive = b'event: ping\ndata: {"type": "ping"}\n\n'

    def write(self, payload: Event | Sequence[Event]) -> bytes:
        """Returns named events."""
        events = [payload] if isinstance(payload, dict) else payload
        return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)

    def text_chunk(self, call: Call, piece: str, kind: str) -> list[Event]:  # type: ignore[override] # several
        """Returns a token of text or reasoning, in a block of its kind."""
        block, delta, field = _KINDS[kind]
        begun = self._block(call, {"type": block, field: ""})
        return [*begun, self._delta(call, {"type": delta, field: piece})]

    def chunk(self, call: Call, content: Mapping[str, Any], **extra: Any) -> Any:
        """Returns a fragment of a tool call, or a ping if there is no content."""
        if "tool_calls" not in content:
            return {"type": "ping"}
        (piece,) = content["tool_calls"]
        function, begun = piece["function"], []
        if "name" in function:
            begun = self._block(
                call, {"type": "tool_use", "id": piece["id"], "name": function["name"], "input": {}}, new=True
            )
        arguments = {"type": "input_json_delta", "partial_json": function.get("arguments", "")}
        return [*begun, self._delta(call, arguments)]

    def finish_chunk(self, call: Call, reason: str, extra: Mapping[str, Any]) -> list[Event]:  # type: ignore[override] # several
        """Returns the end of the block, and the stop reason with the usage."""
        call.usage = self.usage(call)
        delta = {"stop_reason": _WORDS.get(reason, reason), "stop_sequence": None, **extra}
        usage = {"output_tokens": call.rendered_count}
        stopped = self._stopped(call) or self._begun(call)
        return [*stopped, {"type": "message_delta", "delta": delta, "usage": usage}]

    def usage_chunk(self, call: Call) -> list[Event]:
        """Returns the usage again, as the script sets it. Servers may send several such events."""
        assert call.usage is not None
        usage = {
            "output_tokens": call.usage["completion_tokens"],
            "input_tokens": call.usage["prompt_tokens"] - CACHED_TOKENS,
        }
        return [{"type": "message_delta", "delta": {}, "usage": usage}]

    def complaint(self, error: Mapping[str, Any]) -> dict[str, Any]:
        """Returns an error event."""
        return {"type": "error", "error": {"type": "api_error", **error}}

    def _begun(self, call: Call) -> list[Event]:
        if call.blocks:
            return []
        call.blocks.append("message")
        usage = {
            "input_tokens": INPUT_TOKENS - CACHED_TOKENS,
            "cache_read_input_tokens": CACHED_TOKENS,
            "output_tokens": 1,
        }
        message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "usage": usage}
        return [{"type": "message_start", "message": message}, {"type": "ping"}]

    def _stopped(self, call: Call) -> list[Event]:
        index = len(call.blocks) - 2
        return [{"type": "content_block_stop", "index": index}] if index >= 0 else []

    def _block(self, call: Call, block: Event, *, new: bool = False) -> list[Event]:
        """Returns the events that start a block, or none if a block of this type is open."""
        if not new and call.blocks and call.blocks[-1] == block["type"]:
            return []
        begun = self._begun(call) or self._stopped(call)
        call.blocks.append(block["type"])
        index = len(call.blocks) - 2
        return [*begun, {"type": "content_block_start", "index": index, "content_block": block}]

    def _delta(self, call: Call, delta: Event) -> Event:
        return {"type": "content_block_delta", "index": len(call.blocks) - 2, "delta": delta}


ANTHROPIC = Anthropic()
