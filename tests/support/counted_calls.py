"""Calls of a server that count what their callers see, as the series that its metrics should have."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from tokenstreaming.v1 import generation_pb2 as gen
from tokenstreaming.v1 import token_stream_pb2 as pb
from tokenstreaming.v1 import usage_pb2

from tests.support.admin_pages import Series, series
from tests.support.harness import Outcome, Served
from tokengrpc.core.ports.observer import CallEnded, CallStarted
from tokengrpc.rpc.servicer import SERVICE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.core.ports.observer import ObserverEvent

TENANT = "default"

_USAGE = {
    "input": "input_token_count",
    "output": "output_token_count",
    "cached_input": "cached_input_token_count",
    "cache_write_input": "cache_write_input_token_count",
    "reasoning": "reasoning_token_count",
    "overhead": "overhead_token_count",
}


class Calls:
    """An observer that keeps the methods of calls that have arrived, and counts those that run."""

    def __init__(self) -> None:
        self.arrived: list[str] = []
        self.running = 0

    def on_event(self, event: ObserverEvent) -> None:
        """Takes the beginning or the end of a call."""
        if isinstance(event, CallStarted):
            self.arrived.append(event.method)
            self.running += 1
        elif isinstance(event, CallEnded):
            self.running -= 1


@dataclass
class Traffic:
    """Bytes of the messages of one call, as the server sees them."""

    received: int = 0
    sent: int = 0

    def serialize(self, request: Any) -> bytes:
        """Encodes a request."""
        data: bytes = request.SerializeToString()
        self.received += len(data)
        return data

    def parser(self, kind: type[Any]) -> Callable[[bytes], Any]:
        """Returns a function that decodes responses."""

        def parse(data: bytes) -> Any:
            self.sent += len(data)
            return kind.FromString(data)

        return parse


class CountedCalls:
    """Calls of a server, with the series that its metrics should have."""

    def __init__(self, server: Served, calls: Calls) -> None:
        self.server = server
        self.calls = calls
        self.counted: Counter[Series] = Counter()

    def count(self, name: str, by: float = 1, /, **labels: str) -> None:
        """Adds to a series."""
        self.counted[series(name, **labels)] += by  # type: ignore[assignment]  # tokens are whole numbers

    def call(self, method: str, outcome: Outcome, traffic: Traffic) -> None:
        """Counts a call by the status that its caller received, and its bytes."""
        path = f"{SERVICE.full_name}/{method}"
        self.count("grpc_server_call_started_total", grpc_method=path)
        labels = {"grpc_method": path, "grpc_status": outcome.code.name}
        self.count("grpc_server_call_duration_seconds_count", **labels)
        for direction, size in (("sent", traffic.sent), ("rcvd", traffic.received)):
            name = f"grpc_server_call_{direction}_total_compressed_message_size_bytes"
            self.count(f"{name}_count", **labels)
            self.count(f"{name}_sum", size, **labels)
        if outcome.info is not None:
            self.count("tokengrpc_call_errors_total", grpc_method=path, reason=outcome.info.reason)
            if outcome.info.reason == "LOG_DIVERGED":
                self.count("tokengrpc_checksum_failures_total")

    def streaming(self, method: str, request: Any, **call: Any) -> tuple[Any, Traffic]:
        """Starts a call of a stream."""
        traffic = Traffic()
        stub = self.server.channel.unary_stream(
            f"/{SERVICE.full_name}/{method}",
            request_serializer=traffic.serialize,
            response_deserializer=traffic.parser(pb.StreamTokensResponse),
        )
        return stub(request, **call), traffic

    async def unary(self, method: str, request: Any, response: type[Any]) -> Any:
        """Makes a call with one response, which must succeed."""
        traffic = Traffic()
        stub = self.server.channel.unary_unary(
            f"/{SERVICE.full_name}/{method}",
            request_serializer=traffic.serialize,
            response_deserializer=traffic.parser(response),
        )
        answer = await stub(request)
        self.call(method, ended(grpc.StatusCode.OK), traffic)
        return answer

    async def get(self, generation_id: str) -> gen.Generation:
        """Returns a generation as the server shows it."""
        request = pb.GetGenerationRequest(generation_id=generation_id)
        answer = await self.unary("GetGeneration", request, pb.GetGenerationResponse)
        shown: gen.Generation = answer.generation
        return shown

    async def generation(self, generation_id: str, usage: usage_pb2.Usage, **end: str) -> None:
        """Counts a generation that an engine accepted: its end, its usage, and its calls of engines."""
        shown = await self.get(generation_id)
        labels = {"model": shown.model, "tenant": TENANT}
        self.count("tokengrpc_request_admitted_total", **labels)
        kind = "success" if "finished_reason" in end else "failure"
        self.count(f"tokengrpc_request_{kind}_total", **labels, **end)
        self.count("tokengrpc_prompt_tokens_total", usage.input_token_count, **labels)
        self.count("tokengrpc_generation_tokens_total", usage.output_token_count, **labels)
        source = usage_pb2.UsageSource.Name(usage.source).removeprefix("USAGE_SOURCE_")
        for of, field in _USAGE.items():
            self.count(
                "tokengrpc_usage_tokens_total", getattr(usage, field), **labels, kind=of, source=source
            )
        self.count("tokengrpc_request_queue_time_seconds_count", model=shown.model, priority="standard")
        for name in ("time_to_first_token", "e2e_request_latency"):
            self.count(f"tokengrpc_{name}_seconds_count", model=shown.model)
        stopped = end.get("reason") in ("CANCELLED", "DEADLINE_EXCEEDED")
        self.attempts(shown.model, [(a.engine, a.error_reason) for a in shown.attempts], stopped=stopped)

    def attempts(self, model: str, made: list[tuple[str, str]], *, stopped: bool = False) -> None:
        """Counts calls of engines with the reasons of their errors. `stopped`: the server ended the last."""
        for number, (engine, reason) in enumerate(made):
            labels = {"model": model, "engine": engine}
            last = number == len(made) - 1
            before = [name for name, _ in made[:number]]
            if before:
                name = "retries" if engine in before else "failovers"
                self.count(f"tokengrpc_{name}_total", **labels)
            if stopped and last:
                self.count("tokengrpc_engine_attempts_total", outcome="neutral", **labels)
                self.count("tokengrpc_engine_cancels_total", **labels)
            elif reason:
                outcome = "backoff" if model == "busy" else "failure"
                self.count("tokengrpc_engine_attempts_total", outcome=outcome, **labels)
                self.count("tokengrpc_engine_errors_total", reason=reason, **labels)
            else:
                self.count("tokengrpc_engine_attempts_total", outcome="success", **labels)


def ended(code: grpc.StatusCode) -> Outcome:
    """Returns the outcome of a call that has this status and no details."""
    return Outcome([], code, "", {})
