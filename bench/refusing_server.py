"""A bare grpc.aio server that refuses each call at once, with the status that tokengrpc gives: the floor.

It reads no request and decides nothing. Its limits of waiting calls are raised as tokengrpc's, because gRPC
itself would cancel most of a burst.
"""

from __future__ import annotations

from typing import Any

import grpc
import uvloop
from grpc_status import rpc_status

from bench.bare import serve
from tokengrpc.errors import Overloaded
from tokengrpc.wire.status import Failure, status_of

_UNLIMITED = 2**31 - 1
_PENDING = ("grpc.server.max_pending_requests", "grpc.server.max_pending_requests_hard_limit")
_WHY = "the server is at capacity, because 64 generations need the whole core: try again in 9.9 s"
_ERROR = Overloaded(_WHY, metadata={"cause": "bare"}, retry_after=9.9)


async def main() -> None:
    """Serves until it is terminated."""
    status = rpc_status.to_status(status_of(_ERROR, Failure(generation_id="")))

    async def refuse(_requests: object, context: Any) -> None:
        await context.abort(status.code, status.details, status.trailing_metadata)

    methods = {"StreamTokens": grpc.stream_stream_rpc_method_handler(refuse)}
    await serve(methods, [(name, _UNLIMITED) for name in _PENDING])


if __name__ == "__main__":
    uvloop.run(main())
