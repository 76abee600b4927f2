"""Payloads of OpenAI-compatible servers, and functions that decode them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tokengrpc.core.request import OutputOptions
from tokengrpc.engines.openai.chunks.decoder import ChunkDecoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.core.model import Delta, FinishReason
    from tokengrpc.errors import TokenGrpcError

DONE = b"[DONE]"
EVERYTHING = OutputOptions(top_logprob_count=2, token_ids=True, raw_bytes=True)


def chat(delta: dict[str, Any] | None = None, usage: dict[str, Any] | None = None, **choice: Any) -> bytes:
    whole: dict[str, Any] = {"choices": [{"index": 0, "delta": delta, "finish_reason": None} | choice]}
    return json.dumps(whole | ({"usage": usage} if usage else {})).encode()


def text(piece: str, **choice: Any) -> bytes:
    return chat({"content": piece}, **choice)


def counts(prompt: int, completion: int, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, **more}


def sums(prompt: int, completion: int) -> bytes:
    return json.dumps({"choices": [], "usage": counts(prompt, completion)}).encode()


STOP = chat({}, finish_reason="stop")


def decode(
    *payloads: bytes, output: OutputOptions | None = None, tools: Sequence[str] = ()
) -> tuple[list[Delta], TokenGrpcError | None]:
    """Returns all deltas of a body that ended regularly, and the error, if any."""
    decoder = ChunkDecoder("test", output or OutputOptions(), tools=tools)
    deltas = decoder.feed(payloads)
    deltas += decoder.end([])
    assert decoder.ended
    return deltas, decoder.error


def finished(*payloads: bytes, output: OutputOptions | None = None, tools: Sequence[str] = ()) -> list[Delta]:
    """Returns all deltas of a body without errors. The last delta has the finish."""
    deltas, error = decode(*payloads, output=output, tools=tools)
    assert error is None
    assert deltas[-1].finish is not None
    assert all(delta.finish is None for delta in deltas[:-1])
    return deltas


def choices(*entries: dict[str, Any]) -> bytes:
    """A chunk with several choices."""
    return json.dumps({"choices": entries}).encode()


def answer(deltas: list[Delta]) -> str:
    """All text."""
    return "".join(delta.text or "" for delta in deltas)


def reasoning(deltas: list[Delta]) -> str:
    """All reasoning."""
    return "".join(delta.reasoning for delta in deltas)


def end(deltas: list[Delta]) -> tuple[FinishReason, str]:
    """The finish reason and the server's word for it."""
    finish = deltas[-1].finish
    assert finish is not None
    return finish.reason, finish.word


def calls(deltas: list[Delta]) -> list[tuple[str, str, str]]:
    """Returns id, name and arguments of each call, as a caller assembles them."""
    found: dict[int, list[str]] = {}
    for fragment in (fragment for delta in deltas for fragment in delta.fragments):
        first = fragment.call_index not in found
        call = found.setdefault(fragment.call_index, [fragment.id, fragment.function_name, ""])
        assert first or not (fragment.id or fragment.function_name)
        call[2] += fragment.arguments
    assert list(found) == list(range(len(found)))
    return [(id_, name, arguments) for id_, name, arguments in found.values()]


def piece(
    name: str | None = None, arguments: Any = None, id_: Any = None, index: Any = None
) -> dict[str, Any]:
    """A piece of a tool call."""
    function = {"name": name, "arguments": arguments}
    return {"index": index, "id": id_, "function": {k: v for k, v in function.items() if v is not None}}
