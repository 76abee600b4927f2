"""Bare grpc.aio servers, to compare with: the methods of TokenStream, and nothing around them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from tokenstreaming.v1 import token_stream_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SERVICE = pb.DESCRIPTOR.services_by_name["TokenStream"]


async def serve(
    methods: Mapping[str, grpc.RpcMethodHandler[bytes, bytes]], options: Sequence[tuple[str, int]] = ()
) -> None:
    """Serves on a free port until the process is terminated. Prints the address."""
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE.full_name, methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"listening on 127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()
