"""A mixed load: callers of every kind, which count what happens to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from tokenstreaming.v1 import generation_pb2 as gen
from tokenstreaming.v1 import input_pb2
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.counted_calls import TENANT, CountedCalls, Traffic, ended
from tests.support.harness import Outcome, collect, read_until, until
from tokengrpc.rpc.servicer import SERVICE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_CHAT = input_pb2.Conversation(
    messages=[input_pb2.ConversationMessage(role=input_pb2.ROLE_USER, text="Say hello.")]
)


class Load(CountedCalls):
    """Callers of a server with the models `good`, `cut`, `slow`, `dead`, `busy`, `shaky` and `swap`."""

    async def stream(
        self, generation_id: str, model: str, timeout: float | None = None, **more: Any
    ) -> Outcome:
        """Streams to the end, which the caller leaves to the server."""
        request = _request(generation_id, model, **more)
        call, traffic = self.streaming("StreamTokens", request, timeout=timeout)
        outcome = await collect(call)
        self.call("StreamTokens", outcome, traffic)
        self.count("tokengrpc_streams_total", model=model, opening="start")
        return outcome

    async def complete(self, generation_id: str, model: str, **more: Any) -> Outcome:
        """Streams an answer that ends well."""
        outcome = await self.stream(generation_id, model, **more)
        assert outcome.finished is not None, outcome
        reason = gen.FinishReason.Name(outcome.finished.finish_reason).removeprefix("FINISH_REASON_")
        await self.generation(generation_id, outcome.messages[-1].usage, finished_reason=reason)
        return outcome

    async def succeed(self, generation_id: str) -> None:
        """One engine, one answer."""
        await self.complete(generation_id, "good")

    async def ask_at_once(self, generation_id: str) -> None:
        """The answer in one message."""
        request = pb.GenerateTextRequest(request=_request(generation_id, "good"))
        answer = await self.unary("GenerateText", request, pb.GenerateTextResponse)
        self.count("tokengrpc_streams_total", model="good", opening="start")
        await self.generation(generation_id, answer.generation.usage, finished_reason="END")

    async def fail_over(self, generation_id: str) -> None:
        """The first engine asks callers to wait; the second one answers."""
        await self.complete(generation_id, "busy")

    async def retry(self, generation_id: str) -> None:
        """Both engines fail, and the first one is called again."""
        await self.complete(generation_id, "shaky")

    async def switch(self, generation_id: str) -> None:
        """The first engine breaks off; the second one continues."""
        recovery = input_pb2.Recovery(max_engine_switch_count=2)
        outcome = await self.complete(generation_id, "swap", conversation=_CHAT, recovery=recovery)
        for message in outcome.messages:
            if message.HasField("engine_switched"):
                switched = message.engine_switched
                method = gen.ContinuationMethod.Name(switched.continuation_method).removeprefix(
                    "CONTINUATION_METHOD_"
                )
                engines = {"from_engine": switched.from_engine, "to_engine": switched.to_engine}
                self.count("tokengrpc_switches_total", model="swap", method=method, **engines)

    async def fail(self, generation_id: str) -> None:
        """The engine's answer ends too early."""
        outcome = await self.stream(generation_id, "cut")
        assert outcome.info is not None
        await self.generation(generation_id, outcome.messages[-1].usage, reason=outcome.info.reason)

    async def be_refused_by_the_engine(self, generation_id: str) -> None:
        """The only engine fails before any output: there is no generation to look up."""
        outcome = await self.stream(generation_id, "dead")
        assert outcome.info is not None
        reason = outcome.info.reason
        self.count("tokengrpc_request_admitted_total", model="dead", tenant=TENANT)
        self.count("tokengrpc_request_failure_total", model="dead", tenant=TENANT, reason=reason)
        self.attempts("dead", [("dead", reason)])

    async def be_rejected(self, generation_id: str) -> None:
        """The server rejects the call: the model is unknown, or a field is wrong."""
        wrong = {"sampling": input_pb2.Sampling(temperature=9)}
        for request in (_request(generation_id, "unknown"), _request(generation_id, "good", **wrong)):
            call, traffic = self.streaming("StreamTokens", request)
            self.call("StreamTokens", await collect(call), traffic)

    async def expire(self, generation_id: str) -> None:
        """The server ends the generation before the deadline."""
        outcome = await self.stream(generation_id, "slow", timeout=1.0)
        assert outcome.info is not None
        await self.generation(generation_id, outcome.messages[-1].usage, reason=outcome.info.reason)

    async def leave(self, generation_id: str) -> None:
        """The caller leaves, which ends the generation. Its id and usage are kept."""
        call, traffic = await self._reading(generation_id)
        call.cancel()
        self.call("StreamTokens", ended(grpc.StatusCode.CANCELLED), traffic)
        task = next(t for t in self.server.tasks if t.key.generation_id == generation_id)
        await task.wait_ended()
        await self._stopped(generation_id)

    async def cancel(self, generation_id: str) -> None:
        """Another call cancels the generation."""
        call, traffic = await self._reading(generation_id)
        request = pb.CancelGenerationRequest(generation_id=generation_id)
        await self.unary("CancelGeneration", request, pb.CancelGenerationResponse)
        self.call("StreamTokens", await collect(call), traffic)
        await self._stopped(generation_id)

    async def _reading(self, generation_id: str) -> tuple[Any, Traffic]:
        call, traffic = self.streaming("StreamTokens", _request(generation_id, "slow"))
        await read_until(call, lambda message: message.tokens)
        self.count("tokengrpc_streams_total", model="slow", opening="start")
        return call, traffic

    async def _stopped(self, generation_id: str) -> None:
        usage = (await self.get(generation_id)).usage
        await self.generation(generation_id, usage, reason="CANCELLED")
        self.count("tokengrpc_cancel_to_engine_seconds_count", model="slow", engine="slow")

    async def resume(self, generation_id: str) -> None:
        """Reads an answer again: as a whole, as one who attaches, and with the wrong checksum."""
        await self.succeed(generation_id)
        whole = pb.ResumeTokensRequest(generation_id=generation_id)
        await self._read_again("ResumeTokens", whole, "resume")
        await self._read_again("StreamTokens", _request(generation_id, "good"), "attach")
        wrong = pb.ResumeTokensRequest(generation_id=generation_id, after_sequence=2, output_checksum=1)
        await self._read_again("ResumeTokens", wrong)

    async def _read_again(self, method: str, request: Any, opening: str = "") -> None:
        call, traffic = self.streaming(method, request)
        self.call(method, await collect(call), traffic)
        if opening:
            self.count("tokengrpc_streams_total", model="good", opening=opening)

    async def send_nothing(self, _: str) -> None:
        """A caller that never sends its request, and whose deadline passes."""
        await self._wait_in_vain(timeout=0.5)

    async def send_nothing_and_leave(self, _: str) -> None:
        """A caller that never sends its request, and leaves long before its deadline."""
        await self._wait_in_vain(timeout=500.0)

    async def _wait_in_vain(self, timeout: float) -> None:
        path = f"{SERVICE.full_name}/GetGeneration"
        arrived = self.calls.arrived.count("GetGeneration")
        call: Any = self.server.channel.stream_stream(f"/{path}")(timeout=timeout)
        if timeout > 1:
            await until(lambda: self.calls.arrived.count("GetGeneration") > arrived, "the call arrives")
            call.cancel()
        self.call("GetGeneration", ended(await call.code()), Traffic())

    async def each(self, count: int, *kinds: Callable[[str], Awaitable[None]]) -> None:
        """Runs kinds of calls one after another, in the same order each time."""
        for number in range(count):
            for kind in kinds:
                await kind(f"{kind.__name__}-{number}")


def _request(generation_id: str, model: str, **fields: Any) -> pb.StreamTokensRequest:
    if "conversation" not in fields:
        fields["prompt"] = "hello"
    return pb.StreamTokensRequest(generation_id=generation_id, model=model, **fields)
