"""Calls of the AdminService by commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from tokengrpc.cli import exits
from tokengrpc.cli.output import write_error, write_json
from tokengrpc.cli.session import Server, interruptible, run
from tokengrpc.client import TokenStreamError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    from google.protobuf.message import Message

    from tokengrpc.cli.endpoint import Endpoint
    from tokengrpc.client.admin import Admin

M = TypeVar("M", bound="Message")

_UNSERVED = (
    "UNIMPLEMENTED: this server has no database of tenants: name another authenticator than static, such as "
    "database, and a ledger in sqlite or postgresql"
)


def call(endpoint: Endpoint, work: Callable[[Admin], Coroutine[Any, Any, None]]) -> int:
    """Makes calls with a connected client, and returns the exit code. Failures are reported in one line."""
    server = Server(endpoint)

    async def connected() -> int:
        try:
            async with server.connect() as client:
                await interruptible(work(client.admin))
        except TokenStreamError as error:
            if error.code is not grpc.StatusCode.UNIMPLEMENTED:
                raise
            write_error(_UNSERVED)
            return exits.FAILURE
        return exits.OK

    return run(connected(), server)


async def show(
    items: AsyncIterator[M], most: int, *, json: bool, show_table: Callable[[Sequence[M]], None]
) -> None:
    """Prints up to `most` items: each as a line of JSON, or all as a table."""
    kept: list[M] = []
    async for item in items:
        if len(kept) == most:
            break
        kept.append(item)
    if json:
        for item in kept:
            write_json(item)
    else:
        show_table(kept)
