"""Every RPC of the server, called as bytes over a real connection, with any metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
from grpc_status import rpc_status
from tokenstreaming.v1 import admin_service_pb2, token_stream_pb2, usage_service_pb2
from tokenstreaming.v1 import token_stream_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.rpc.status_pb2 import Status

_FILES = (token_stream_pb2, usage_service_pb2, admin_service_pb2)
RPCS = tuple(
    f"/{service.full_name}/{method.name}"
    for file in _FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
)
"""The paths of all methods."""
OWNED = tuple(
    f"/tokenstreaming.v1.TokenStream/{name}" for name in ("ResumeTokens", "GetGeneration", "CancelGeneration")
)
"""The paths of those that concern a generation which exists already."""

_ONE_TOKEN = pb.StreamTokensRequest(prompt="a", max_output_token_count=1)


def request_of(path: str, generation_id: str) -> bytes:
    """Returns a request that the method takes; for those of `OWNED`, about this generation."""
    made: Any = {
        "StreamTokens": _ONE_TOKEN,
        "GenerateText": pb.GenerateTextRequest(request=_ONE_TOKEN),
        "CountTokens": pb.CountTokensRequest(request=_ONE_TOKEN),
        "ResumeTokens": pb.ResumeTokensRequest(generation_id=generation_id),
        "GetGeneration": pb.GetGenerationRequest(generation_id=generation_id),
        "CancelGeneration": pb.CancelGenerationRequest(generation_id=generation_id),
    }.get(path.rpartition("/")[2])
    return b"" if made is None else bytes(made.SerializeToString())


class Ended(NamedTuple):
    """How a call ended: its code, its message, its rich status if it has one, and its messages."""

    code: str
    message: str
    status: Status | None
    received: tuple[bytes, ...]


def call(
    channel: grpc.Channel,
    path: str,
    metadata: Sequence[tuple[str, str | bytes]] = (),
    generation_id: str = "none",
) -> Ended:
    """Calls a method, and reads to its end."""
    # A single response is a stream of one.
    method: Any = channel.unary_stream(path)
    stream = method(request_of(path, generation_id), metadata=tuple(metadata), timeout=30)
    received = []
    try:
        received += list(stream)
    except grpc.RpcError:
        status = rpc_status.from_call(stream)
        return Ended(stream.code().name, stream.details(), status, tuple(received))
    return Ended("OK", "", None, tuple(received))
