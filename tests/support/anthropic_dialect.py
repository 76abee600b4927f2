"""How Anthropic's Messages API writes its events.

Read in anthropic-sdk-python 0.121, types/raw_*_event.py, and in the docs, "Streaming Messages".
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.support.wire_dialects import INPUT_TOKENS, Dialect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.support.scripted_engine import Call

    Event = dict[str, Any]

# Told apart from the rest of the input, which is not counted with them.
CACHED_TOKENS = 2

# Its words for the reasons that scripts give.
_WORDS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}

# The kind of block and of its pieces, and the field of the text, for each kind of text.
_KINDS = {
    "text": ("text", "text_delta", "text"),
    "refusal": ("text", "text_delta", "text"),
    "reasoning": ("thinking", "thinking_delta", "thinking"),
}


class Anthropic(Dialect):
    """Blocks that begin and stop; the input's usage first, the output's with the stop reason."""

    end_mark = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    keep_alive = b'event: ping\ndata: {"type": "ping"}\n\n'

    def write(self, payload: Event | Sequence[Event]) -> bytes:
        """Events with their names."""
        events = [payload] if isinstance(payload, dict) else payload
        return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)

    def text_chunk(self, call: Call, piece: str, kind: str) -> list[Event]:  # type: ignore[override] # several
        """A token of text or reasoning, in a block of its kind."""
        block, delta, field = _KINDS[kind]
        begun = self._block(call, {"type": block, field: ""})
        return [*begun, self._delta(call, {"type": delta, field: piece})]

    def chunk(self, call: Call, content: Mapping[str, Any], **extra: Any) -> Any:
        """A piece of a tool call; a ping for nothing."""
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
        """The block's end, and why it stopped, with the usage."""
        call.usage = self.usage(call)
        delta = {"stop_reason": _WORDS.get(reason, reason), "stop_sequence": None, **extra}
        usage = {"output_tokens": call.rendered_count}
        stopped = self._stopped(call) or self._begun(call)
        return [*stopped, {"type": "message_delta", "delta": delta, "usage": usage}]

    def usage_chunk(self, call: Call) -> list[Event]:
        """The usage again, with what the script says; servers send several such events."""
        assert call.usage is not None
        usage = {
            "output_tokens": call.usage["completion_tokens"],
            "input_tokens": call.usage["prompt_tokens"] - CACHED_TOKENS,
        }
        return [{"type": "message_delta", "delta": {}, "usage": usage}]

    def complaint(self, error: Mapping[str, Any]) -> dict[str, Any]:
        """An event of its own."""
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
        """What begins a block, unless one of its kind is open."""
        if not new and call.blocks and call.blocks[-1] == block["type"]:
            return []
        begun = self._begun(call) or self._stopped(call)
        call.blocks.append(block["type"])
        index = len(call.blocks) - 2
        return [*begun, {"type": "content_block_start", "index": index, "content_block": block}]

    def _delta(self, call: Call, delta: Event) -> Event:
        return {"type": "content_block_delta", "index": len(call.blocks) - 2, "delta": delta}


ANTHROPIC = Anthropic()
