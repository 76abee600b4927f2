"""Reads the requests that start or count a generation: small ones at once, large ones on a thread."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tokenstreaming.v1 import token_stream_pb2 as pb

from tokengrpc.errors import InvalidRequest, Overloaded
from tokengrpc.wire.parsing import parse
from tokengrpc.wire.raw_fields import MAX_FIELDS, has_few_fields, head_of
from tokengrpc.wire.request import generation_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.wire.raw_fields import Head

    Kind = type[pb.StreamTokensRequest | pb.GenerateTextRequest | pb.CountTokensRequest]

# What a request of this size or with so many fields costs takes about a millisecond.
_TINY = 2 * 1024
_SMALL = 64 * 1024
_FEW_FIELDS = 1000

# Requests that are read at the same time. More threads would only share Python's lock.
_MAX_THREADS = 2
# Requests that wait for such a thread, each of up to `limits.max_request_bytes`.
_MAX_WAITING = 64


class RequestReader:
    """Reader of request bytes. What it holds does not grow with the number of callers."""

    def __init__(self, *, keep_encoded: bool = False) -> None:
        """`keep_encoded` is whether requests keep their bytes, because other servers may need them."""
        self._keep_encoded = keep_encoded
        self._threads = asyncio.Semaphore(_MAX_THREADS)
        self._waiting = 0

    async def read(
        self, kind: Kind, data: bytes, gate: Callable[[Head], None], *, gate_small: bool = False
    ) -> GenerationRequest:
        """Returns the request. `gate` sees its id and model before it is parsed, and may raise to refuse it.

        A small request passes the gate only if `gate_small`: parsing it costs no more than looking at it.
        Raises InvalidRequest, or Overloaded if too many large requests are waiting.
        """
        small = is_small(kind, data)
        if gate_small or not small:
            gate(head_of(kind, data))
        if small:
            return _read(kind, data, self._keep_encoded)
        if self._waiting >= _MAX_WAITING:
            raise Overloaded(f"{_MAX_WAITING} large requests are waiting to be read: try again shortly")
        self._waiting += 1
        try:
            async with self._threads:
                return await asyncio.to_thread(_read, kind, data, self._keep_encoded)
        finally:
            self._waiting -= 1


def is_small(kind: Kind, data: bytes) -> bool:
    """Returns whether reading a request takes so little time that a thread is not worth it."""
    return len(data) <= _TINY or (len(data) <= _SMALL and has_few_fields(kind, data, _FEW_FIELDS))


def _read(kind: Kind, data: bytes, keep_encoded: bool) -> GenerationRequest:
    message = parse(kind, data, MAX_FIELDS)
    if isinstance(message, pb.StreamTokensRequest):
        return generation_request(message, keep_encoded=keep_encoded)
    if not message.HasField("request"):
        raise InvalidRequest([("request", "must be set")])
    return generation_request(message.request, keep_encoded=keep_encoded)
