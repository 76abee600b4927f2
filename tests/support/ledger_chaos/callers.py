"""Callers of the chaos run: each has a connection of its own, and ends its generations at random."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from tokenstreaming.v1 import input_pb2
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.tcp_proxy import TcpProxy
from tokengrpc.client.stubs import aio_stub

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tokenstreaming.v1 import usage_pb2

TOKENS = 12
KINDS = {"complete": 45, "cancel": 25, "cancel call": 10, "deadline": 8, "drop": 12}
"""The share of each kind of ending, in percent: a third is cancelled."""

_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
)


@dataclass
class Told:
    """What a caller knows of its generation. `usage` is that of `finished`, if it has seen it."""

    generation_id: str
    prompt: str
    kind: str
    started: bool = False
    usage: usage_pb2.Usage | None = None
    code: str = ""


class Caller:
    """One connection. Those that drop it go through a proxy, which resets it."""

    def __init__(self, number: int, port: int, chance: random.Random, up: asyncio.Event) -> None:
        """`up` is set while the server serves."""
        self._number = number
        self._port = port
        self._chance = chance
        self._up = up

    async def run(self, more: Callable[[], bool], done: Callable[[Told], None]) -> None:
        """Starts one generation after another for as long as `more()`, and reports each."""
        async with AsyncExitStack() as stack:
            proxy = await stack.enter_async_context(TcpProxy(self._port)) if self._number % 4 == 0 else None
            target = f"127.0.0.1:{proxy.port if proxy else self._port}"
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(target, options=_OPTIONS))
            kinds = {kind: share for kind, share in KINDS.items() if proxy or kind != "drop"}
            kinds |= {"drop": 4 * KINDS["drop"]} if proxy else {}
            count = 0
            while more():
                await self._up.wait()
                count += 1
                (kind,) = self._chance.choices(list(kinds), list(kinds.values()))
                told = Told(f"g{self._number}-{count}", f"caller {self._number} asks {count}", kind)
                await self._one(aio_stub(channel), told, proxy)
                done(told)
                if told.code == "UNAVAILABLE":
                    await asyncio.sleep(0.05)

    async def _one(self, stub: Any, told: Told, proxy: TcpProxy | None) -> None:
        chance = self._chance
        leave_after = chance.randrange(8) if told.kind not in {"complete", "deadline"} else 1_000
        request = pb.StreamTokensRequest(
            generation_id=told.generation_id,
            prompt=told.prompt,
            max_output_token_count=TOKENS,
            recovery=input_pb2.Recovery(max_engine_switch_count=3),
        )
        call = stub.StreamTokens(
            request, timeout=chance.uniform(0.02, 0.3) if told.kind == "deadline" else 60.0
        )
        try:
            await _read(call, told, leave_after)
            await self._leave(stub, told, call, proxy)
            await _read(call, told)
            told.code = (await call.code()).name
        except grpc.aio.AioRpcError as error:
            told.code = error.code().name
        except asyncio.CancelledError:
            if not call.cancelled():
                raise
            told.code = "CANCELLED"

    async def _leave(self, stub: Any, told: Told, call: Any, proxy: TcpProxy | None) -> None:
        if told.kind == "drop":
            assert proxy is not None
            proxy.cut()
        elif told.kind == "cancel call":
            with suppress(grpc.aio.AioRpcError):
                await stub.CancelGeneration(pb.CancelGenerationRequest(generation_id=told.generation_id))
        elif told.kind == "cancel":
            call.cancel()


async def _read(call: Any, told: Told, most: int = 1_000) -> None:
    """Reads up to so many messages."""
    for _ in range(most):
        message = await call.read()
        if message is grpc.aio.EOF:
            break
        told.started |= message.WhichOneof("event") == "started"
        if message.HasField("finished"):
            told.usage = message.usage
