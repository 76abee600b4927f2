"""Health probes with a limit of 1 s, each on a connection of its own, as Kubernetes sends them."""

from __future__ import annotations

import argparse
import asyncio
import json
import time

import grpc
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc

_LIMIT_S = 1.0
_HTTP = "http://"


async def _probe(target: str) -> float | None:
    """Returns the seconds that an answer SERVING, or 200, took; None for anything else."""
    began = time.monotonic()
    good = await (_get(target) if target.startswith(_HTTP) else _check(target))
    return time.monotonic() - began if good else None


async def _get(url: str) -> bool:
    address, _, path = url.removeprefix(_HTTP).partition("/")
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(_LIMIT_S):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(f"GET /{path} HTTP/1.0\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
    except (OSError, TimeoutError):
        return False
    return answer.split(maxsplit=2)[1:2] == [b"200"]


async def _check(target: str) -> bool:
    async with grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=_LIMIT_S)
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def run(target: str, seconds: float, every: float) -> list[float | None]:
    """Probes again and again for so long, `every` so many seconds."""
    ends, probes = time.monotonic() + seconds, []
    while time.monotonic() < ends:
        probes.append(asyncio.create_task(_probe(target)))
        await asyncio.sleep(every)
    return await asyncio.gather(*probes)


def main() -> None:
    """Probes the target and prints how long each answer took, or null."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", help="HOST:PORT for gRPC, or an http:// URL")
    parser.add_argument("seconds", type=float)
    parser.add_argument("every", type=float, help="seconds between two probes")
    arguments = parser.parse_args()
    print(json.dumps(uvloop.run(run(arguments.target, arguments.seconds, arguments.every))))


if __name__ == "__main__":
    main()
