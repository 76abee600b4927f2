"""A server that sends what the real one never sends: additions of newer versions, and broken streams."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

import grpc
from google.rpc import error_details_pb2, status_pb2
from tokenstreaming.v1 import generation_pb2 as gen
from tokenstreaming.v1 import token_stream_pb2 as pb

if TYPE_CHECKING:
    import asyncio

    from google.protobuf.message import Message

SERVICE = "tokenstreaming.v1.TokenStream"
# Far above the field numbers of the contract.
NEW_FIELD = 9_999


def field(number: int, content: bytes) -> bytes:
    """Returns a length-delimited field in the wire format."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def newer(message: Message) -> bytes:
    """Returns a message with a field that no client knows."""
    return message.SerializeToString() + field(NEW_FIELD, b"from the future")


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])


@dataclass(frozen=True)
class Reply:
    """The answer to one streaming call: messages, then a status (its details in the trailers).

    Before its end, it waits for `hold` if there is one.
    """

    messages: tuple[Message | bytes, ...] = ()
    status: status_pb2.Status | None = None
    hold: asyncio.Event | None = None


def failure(
    code: grpc.StatusCode, reason: str, advice: int, *, retry_delay: float | None = None, **details: Any
) -> status_pb2.Status:
    """Returns a status as the server builds it. Reason and advice may be unknown.

    `retry_delay` is in seconds.
    """
    status = status_pb2.Status(code=code.value[0], message="it failed; look at the details")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="tokengrpc"))
    status.details.add().Pack(gen.GenerationFailure(retry_advice=advice, **details))
    if retry_delay is not None:
        retry_info = error_details_pb2.RetryInfo()
        retry_info.retry_delay.FromTimedelta(timedelta(seconds=retry_delay))
        status.details.add().Pack(retry_info)
    unknown = status.details.add()
    unknown.type_url = "type.googleapis.com/tokenstreaming.v1.FromTheFuture"
    unknown.value = b"\x0a\x01x"
    return status


class CraftedServer(grpc.GenericRpcHandler):
    """Answers each streaming call with the next reply, or the last one; records cancelled ids.

    Replicas have one list of replies, of which each takes the next one.
    """

    def __init__(self, replies: tuple[Reply, ...] | list[Reply]) -> None:
        self.replies = replies if isinstance(replies, list) else list(replies)
        self.calls: list[pb.StreamTokensRequest | pb.ResumeTokensRequest] = []
        self.cancelled: list[str] = []
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((self,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(0)

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """Returns the handler of one of the three methods that the cases use."""
        method = details.method.removeprefix(f"/{SERVICE}/")
        if method == "CancelGeneration":
            return grpc.unary_unary_rpc_method_handler(
                self._cancel,
                request_deserializer=pb.CancelGenerationRequest.FromString,
                response_serializer=pb.CancelGenerationResponse.SerializeToString,
            )
        requests = {"StreamTokens": pb.StreamTokensRequest, "ResumeTokens": pb.ResumeTokensRequest}
        if method not in requests:
            return None
        return grpc.unary_stream_rpc_method_handler(
            self._stream, request_deserializer=requests[method].FromString
        )

    async def _stream(self, request: Any, context: grpc.aio.ServicerContext) -> None:
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        self.calls.append(request)
        for message in reply.messages:
            await context.write(message if isinstance(message, bytes) else message.SerializeToString())
        if reply.hold is not None:
            await reply.hold.wait()
        if reply.status is not None:
            context.set_trailing_metadata((("grpc-status-details-bin", reply.status.SerializeToString()),))
            context.set_code(grpc.StatusCode(_code(reply.status.code)))
            context.set_details(reply.status.message)

    async def _cancel(
        self, request: pb.CancelGenerationRequest, _: grpc.aio.ServicerContext
    ) -> pb.CancelGenerationResponse:
        self.cancelled.append(request.generation_id)
        return pb.CancelGenerationResponse()


def _code(number: int) -> tuple[int, str]:
    return next(code.value for code in grpc.StatusCode if code.value[0] == number)
