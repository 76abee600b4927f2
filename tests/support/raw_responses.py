"""Responses that a test writes byte by byte, read by an engine over HTTP, for each kind of engine."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from tests.support.http_peer import Peer, Server
from tokengrpc.config import engine_settings
from tokengrpc.core.request import GenerationRequest
from tokengrpc.engines.anthropic import engine as anthropic
from tokengrpc.engines.openai import engine as openai
from tokengrpc.errors import TokenGrpcError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.core.model import Delta
    from tokengrpc.engines.upstream.engine import HTTPStreamEngine

HEAD = b"HTTP/1.1 %d OK\r\nContent-Type: %b\r\nConnection: close\r\n%b\r\n"
STREAM = HEAD % (200, b"text/event-stream", b"")
TEXT = {
    "openai": b'{"choices":[{"text":"%b"}]}',
    "anthropic": b'{"type":"content_block_delta","delta":{"type":"text_delta","text":"%b"}}',
}
END = {
    "openai": b'data: {"choices":[{"finish_reason":"stop"}]}\n\n',
    "anthropic": b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\n',
}
CREATE: dict[str, Callable[..., HTTPStreamEngine]] = {"openai": openai.create, "anthropic": anthropic.create}


async def read_response(
    kind: str, response: bytes, **settings: Any
) -> tuple[list[Delta], TokenGrpcError | None]:
    """Returns a response's deltas and error. Checks that the client closes the connection."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(response)
        await peer.until_closed()

    deltas: list[Delta] = []
    async with Server(script) as server:
        base_url = f"http://127.0.0.1:{server.port}/v1"
        engine = CREATE[kind](engine_settings(name="m", kind=kind, base_url=base_url, **settings), None)
        await engine.start()
        try:
            async with aclosing(engine.generate(GenerationRequest(prompt="a"))) as batches:
                async for batch in batches:
                    deltas += batch
        except TokenGrpcError as error:
            await server.all_done()
            return deltas, error
        finally:
            await engine.close()
        return deltas, None
