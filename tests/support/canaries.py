"""Secrets and content that must not be seen, and calls that put them everywhere and end in every way."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.duration_pb2 import Duration
from tokenstreaming.v1 import input_pb2
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.harness import OPTIONS, Outcome, collect, failing, read_until
from tests.support.script_steps import (
    Bytes,
    Chunk,
    Complaint,
    Done,
    Drop,
    Finish,
    Headers,
    Reasoning,
    Refusal,
    Reset,
    Stall,
    Status,
    Text,
    ToolCall,
    UsageChunk,
)
from tokengrpc.client.stubs import aio_stub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.support.scripted_engine import ScriptedEngine

SECRETS: Mapping[str, str] = {
    name: f"Zebra-{name}-9f3b7d21"
    for name in (
        *("tenant-key", "other-key", "wrong-key", "engine-key", "next-key", "header", "query", "password"),
        *("tls-key", "plain-key", "own-key"),
    )
}
"""What only operators, or only one caller, may know."""

CONTENT: Mapping[str, str] = {
    name: f"zebra {name} 7c1e55aa"
    for name in (
        *("prompt", "system", "answer", "reasoning", "refusal", "arguments", "tool", "schema", "stop"),
        *("metadata", "session", "params", "wrong-field"),
    )
}
"""What a caller and a model say."""

_SCHEMA = f'{{"type": "object", "properties": {{"{CONTENT["schema"]}": {{"type": "integer"}}}}}}'
_MISMATCH = f'{{"{CONTENT["schema"]}": "{CONTENT["answer"]}"}}'
QUOTE = f"cannot serve {CONTENT['prompt']!r} for key {SECRETS['engine-key']}, {SECRETS['header']}"
"""What an engine says that repeats all it was sent."""

_ANSWER = (Reasoning(CONTENT["reasoning"]), Text(CONTENT["answer"], " more"), Finish(), UsageChunk(), Done())
_CALL = ToolCall(id="1", name="look_up", arguments=f'{{"q": "{CONTENT["arguments"]}"}}')
_CHAT = input_pb2.Conversation(
    messages=[
        input_pb2.ConversationMessage(role=input_pb2.ROLE_SYSTEM, text=CONTENT["system"]),
        input_pb2.ConversationMessage(role=input_pb2.ROLE_USER, text=CONTENT["prompt"]),
    ]
)
_TOOLS = (input_pb2.Tool(name="look_up", description=CONTENT["tool"], parameters_json_schema=_SCHEMA),)
_OBJECT = input_pb2.OutputConstraint(json_schema=_SCHEMA)
_SOON = input_pb2.Limits(first_token_timeout=Duration(nanos=200_000_000))
_ERROR = {"error": {"message": QUOTE, "type": QUOTE, "param": QUOTE}}

ENGINE_FAILURES: Mapping[str, tuple[Any, ...]] = {
    **{f"status {code}": (Status(code, _ERROR),) for code in (400, 401, 403, 404, 413, 418, 429, 500, 503)},
    "text instead of JSON": (Status(500, QUOTE, {"Content-Type": "text/plain"}),),
    "no stream": (Status(200, QUOTE, {"Content-Type": f"text/plain; x={SECRETS['engine-key']}"}),),
    "error object": (Complaint(message=QUOTE, code=QUOTE),),
    "error after output": (Text(CONTENT["answer"]), Complaint(message=QUOTE)),
    "undecodable": (Text(CONTENT["answer"]), Bytes(f"data: {{{QUOTE}\n\n".encode())),
    "wrong types": (Chunk({"choices": [{"index": 0, "delta": {"content": {QUOTE: 1}}}]}),),
    "too long": (Text(CONTENT["answer"]), Bytes(b"data: " + (QUOTE * 1000).encode())),
    "not HTTP": (Bytes(QUOTE.encode()), Reset()),
    "lost": (Text(CONTENT["answer"]), Drop()),
    "reset": (Text(CONTENT["answer"]), Reset()),
    "truncated": (Text(CONTENT["answer"]),),
    "refused": (Refusal(CONTENT["refusal"]), Finish(), UsageChunk(), Done()),
    "tool call": (_CALL, Finish("tool_calls"), UsageChunk(), Done()),
    "unknown finish": (Text(CONTENT["answer"]), Finish(QUOTE), UsageChunk(), Done()),
}
"""Scripts of an engine that says in every place what it should not repeat, by name."""


_OWN = f"the key {SECRETS['own-key']} is wrong"
OWN_KEY_FAILURES: Mapping[str, tuple[Any, ...]] = {
    **{f"status {code}": (Status(code, {"error": {"message": _OWN, "type": _OWN}}),) for code in (400, 401)},
    "text instead of JSON": (Status(500, _OWN, {"Content-Type": f"text/plain; x={SECRETS['own-key']}"}),),
    "error after output": (Text(CONTENT["answer"]), Complaint(message=_OWN)),
    "undecodable": (Text(CONTENT["answer"]), Bytes(f"data: {{{_OWN}\n\n".encode())),
    "id": (Headers({"x-request-id": SECRETS["own-key"]}), Text(CONTENT["answer"]), Finish(), Done()),
    "lost": (Text(CONTENT["answer"]), Drop()),
}
"""Scripts of an engine that repeats the key that a caller sent for it, by name."""


class Callers:
    """Callers of the models `m`, on a scripted engine, and `broken`, whose plugin raises what it was sent."""

    def __init__(self, target: str, engine: ScriptedEngine) -> None:
        self._target = target
        self._engine = engine

    async def run(self) -> AsyncIterator[tuple[str, Outcome]]:
        """Yields the outcome of each call, with its name."""
        async with grpc.aio.insecure_channel(self._target, options=OPTIONS) as channel:
            self._stub = aio_stub(channel)
            for name, steps in ENGINE_FAILURES.items():
                self._engine.script(*steps)
                yield name, await collect(self._stream(tools=_TOOLS))
            for name, steps in OWN_KEY_FAILURES.items():
                self._engine.script(*steps)
                yield f"own key, {name}", await collect(self._stream(model="own", own_key=True))
            yield "own key, not allowed", await collect(self._stream(own_key=True))
            self._engine.script(Stall())
            yield "stalled", await collect(self._stream(limits=_SOON))
            self._engine.script(*_ANSWER)
            yield "answer", await collect(self._stream("answer", session_id=CONTENT["session"]))
            yield "attached with another request", await collect(self._stream("answer", prompt="other"))
            resume = pb.ResumeTokensRequest(generation_id="answer", after_sequence=2, output_checksum=1)
            yield "diverged", await collect(self._stub.ResumeTokens(resume, metadata=_metadata()))
            self._engine.script(Text(_MISMATCH), Finish(), UsageChunk(), Done())
            yield "schema", await collect(self._stream(output_constraint=_OBJECT))
            async for name, outcome in self._stopped():
                yield name, outcome
            for model in ("broken", "unknown"):
                yield model, await collect(self._stream(model=model))
            for name, fields in _WRONG.items():
                yield f"wrong {name}", await collect(self._stream(**fields))
            wrong = pb.StreamTokensRequest(prompt=CONTENT["prompt"])
            key = _metadata(SECRETS["wrong-key"])
            yield "unauthenticated", await collect(self._stub.StreamTokens(wrong, metadata=key))
            basic = (("authorization", f"Basic {SECRETS['wrong-key']}"),)
            unary = pb.GenerateTextRequest(request=wrong)
            yield "wrong scheme", await failing(self._stub.GenerateText(unary, metadata=basic))

    @asynccontextmanager
    async def hanging(self, key: str) -> AsyncIterator[Any]:
        """A call that has output, and that only the server ends."""
        self._engine.script(Text(CONTENT["answer"]), Stall())
        async with grpc.aio.insecure_channel(self._target, options=OPTIONS) as channel:
            request = pb.StreamTokensRequest(model="m", conversation=_CHAT)
            call = aio_stub(channel).StreamTokens(request, metadata=_metadata(key))
            await read_until(call, lambda message: message.tokens)
            yield call

    async def _stopped(self) -> AsyncIterator[tuple[str, Outcome]]:
        """Callers that leave, cancel, or run out of time."""
        self._engine.script(Text(CONTENT["answer"]), Stall())
        left = self._stream("left")
        await read_until(left, lambda message: message.tokens)
        left.cancel()
        cancelled = self._stream("cancelled")
        await read_until(cancelled, lambda message: message.tokens)
        request = pb.CancelGenerationRequest(generation_id="cancelled")
        await self._stub.CancelGeneration(request, metadata=_metadata())
        yield "cancelled", await collect(cancelled)
        yield "late", await collect(self._stream(timeout=1.0))

    def _stream(
        self, generation_id: str = "", timeout: float | None = None, *, own_key: bool = False, **fields: Any
    ) -> Any:
        if "prompt" not in fields:
            fields.setdefault("conversation", _CHAT)
        fields.setdefault("model", "m")
        request = pb.StreamTokensRequest(generation_id=generation_id, **fields)
        return self._stub.StreamTokens(request, timeout=timeout, metadata=_metadata() + _OWN_KEY * own_key)


_OWN_KEY = (("x-tokengrpc-engine-key", SECRETS["own-key"]),)


def _metadata(key: str = SECRETS["tenant-key"]) -> tuple[tuple[str, str], ...]:
    """Returns the metadata of a call."""
    return (
        ("authorization", f"Bearer {key}"),
        ("x-metadata", CONTENT["metadata"]),
        ("tracestate", f"vendor={CONTENT['metadata'].replace(' ', '')}"),
    )


_WRONG: Mapping[str, dict[str, Any]] = {
    "temperature": {"sampling": input_pb2.Sampling(temperature=9)},
    "stop": {"sampling": input_pb2.Sampling(stop_sequences=[CONTENT["stop"]] * 99)},
    "tool": {"tools": [input_pb2.Tool(name=CONTENT["tool"])]},
    "schema": {"output_constraint": input_pb2.OutputConstraint(json_schema=f"{{{CONTENT['schema']}")},
    "labels": {"labels": {CONTENT["wrong-field"]: "x" * 300}},
    "params": {"engine_params": {CONTENT["params"]: CONTENT["params"]}},
}
"""Requests that are rejected."""
