"""The driver of the Python client: one request on stdin, one call, one report on stdout (see README.md)."""

from __future__ import annotations

import asyncio
import json
import sys
from base64 import b64encode
from itertools import count
from typing import Any

from tokenstreaming.v1 import generation_pb2 as gen
from tokenstreaming.v1 import input_pb2, token_stream_pb2, usage_pb2

from tokengrpc import ResumePolicy, TokenStream, TokenStreamClient, TokenStreamError, tls_credentials
from tokengrpc.client.connection import Connection
from tokengrpc.client.names import short_name

NOTICES = ("attached", "heartbeat", "drain_notice")


class Report:
    """The report, filled in while the call runs."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {
            "text": "",
            "reasoning_text": "",
            "refusal_text": "",
            "tool_calls": [],
            "token_count": 0,
            "indexes_gapless": True,
            "sequence": 0,
            "cursor": "",
            "usage": None,
            "finish_reason": "",
            "state": "",
            "error": None,
            "resumes": 0,
            "notices": dict.fromkeys(NOTICES, 0),
        }
        self._next_index: int | None = None

    def token(self, token: gen.Token) -> None:
        """Adds a token that the reader received."""
        told = self.told
        told["indexes_gapless"] &= self._next_index in {None, token.index}
        self._next_index = token.index + token.count
        told["token_count"] += token.count
        told["text"] += token.text
        told["reasoning_text"] += token.reasoning_text
        told["refusal_text"] += token.refusal_text

    def stream(self, stream: TokenStream) -> None:
        """Adds the state of a stream, at its end or wherever reading stopped."""
        self.told["sequence"] = stream.sequence
        self.told["cursor"] = str(stream.cursor)
        self.told["finish_reason"] = stream.finish_reason
        self.told["tool_calls"] = [
            {
                "id": call.id,
                "function_name": call.function_name,
                "arguments": call.arguments,
                "opaque": b64encode(call.opaque).decode(),
            }
            for call in stream.tool_calls
        ]
        if stream.sequence:
            self.usage(stream.usage)

    def generation(self, generation: gen.Generation) -> None:
        """Adds the generation that `get` returned."""
        self.told["state"] = short_name(gen.GenerationState, generation.state, "GENERATION_STATE_")
        self.told["sequence"] = generation.last_sequence
        self.usage(generation.usage)
        if generation.HasField("finished"):
            reason = generation.finished.finish_reason
            self.told["finish_reason"] = short_name(gen.FinishReason, reason, "FINISH_REASON_")

    def usage(self, usage: usage_pb2.Usage) -> None:
        """Sets the newest usage."""
        self.told["usage"] = {
            "input": usage.input_token_count,
            "output": usage.output_token_count,
            "reasoning": usage.reasoning_token_count,
            "source": short_name(usage_pb2.UsageSource, usage.source, "USAGE_SOURCE_"),
        }

    def error(self, error: TokenStreamError) -> None:
        """Adds the failure of the call."""
        self.told["error"] = {
            "code": error.code.name,
            "reason": error.reason,
            "message": error.message,
            "advice": error.advice.value if error.advice is not None else "",
            "ended": error.ended,
            "generation_id": error.generation_id,
            "last_sequence": error.last_sequence,
            "line": str(error),
        }


def count_resumes(report: Report) -> None:
    """Counts the streaming calls after the first one."""
    make, calls = Connection.stream, count()

    def counted(connection: Connection, action: Any, timeout: float | None) -> Any:
        report.told["resumes"] = next(calls)
        return make(connection, action, timeout)

    Connection.stream = counted  # type: ignore[method-assign] # the client keeps no count of its own


def open_stream(client: TokenStreamClient, request: dict[str, Any]) -> TokenStream:
    """Opens the stream that the request describes."""
    timeout = request.get("timeout_seconds")
    if request.get("call") == "resume":
        cancel_on_close = request.get("cancel_on_close", False)
        return client.resume(request["cursor"], cancel_on_close=cancel_on_close, timeout=timeout)
    asked = token_stream_pb2.StreamTokensRequest(prompt=request.get("prompt", "hello"))
    if "deadline_margin_seconds" in request:
        margin = round(request["deadline_margin_seconds"] * 1e9)
        asked.limits.deadline_margin.FromNanoseconds(margin)
    return client.stream(
        asked,
        generation_id=request.get("generation_id"),
        tools=[input_pb2.Tool(name=name) for name in request.get("tools", ())],
        timeout=timeout,
        on_deadline=request.get("on_deadline", "fail"),
        resumable=request.get("resumable", True),
    )


async def read(stream: TokenStream, request: dict[str, Any], report: Report) -> None:
    """Reads until the end, or until the reader of the request leaves."""
    stop_after = request.get("stop_after_tokens") or float("inf")
    detach_after = request.get("detach_after_tokens") or float("inf")
    async with stream:
        async for message in stream.messages():
            notice = message.WhichOneof("notice")
            if notice in NOTICES:
                report.told["notices"][notice] += 1
            for token in message.tokens:
                report.token(token)
                if report.told["token_count"] >= stop_after:
                    return
                if report.told["token_count"] >= detach_after:
                    await stream.detach()
                    return


async def drive(request: dict[str, Any]) -> dict[str, Any]:
    """Makes the call and returns its report."""
    report = Report()
    policy = ResumePolicy(patience=request.get("patience_seconds"))
    tls = tls_credentials(**request["tls"]) if "tls" in request else None
    async with TokenStreamClient(request["target"], credentials=tls, policy=policy) as client:
        count_resumes(report)
        try:
            if request.get("call") == "get":
                report.generation(await client.get(request["generation_id"]))
            else:
                stream = open_stream(client, request)
                try:
                    await read(stream, request, report)
                finally:
                    report.stream(stream)
        except TokenStreamError as error:
            report.error(error)
    return report.told


if __name__ == "__main__":
    print(json.dumps(asyncio.run(drive(json.load(sys.stdin)))))
