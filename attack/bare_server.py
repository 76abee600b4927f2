"""A grpc.aio server without options and with one method, to compare with."""

from __future__ import annotations

import asyncio

import grpc


async def _echo(data: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:  # noqa: ARG001
    return data


async def main() -> None:
    """Serves on a free port until it is terminated. Prints the address."""
    server = grpc.aio.server()
    methods = {"Echo": grpc.unary_unary_rpc_method_handler(_echo)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("bare.Bare", methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"listening on 127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
