"""Runs one generation on an engine, as the core does."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from tokengrpc.errors import TokenGrpcError

if TYPE_CHECKING:
    from tokengrpc.core.model import Delta
    from tokengrpc.core.ports.engine import Continuation, Engine
    from tokengrpc.core.request import GenerationRequest


async def run(
    engine: Engine, request: GenerationRequest, before: Continuation | None = None
) -> tuple[list[Delta], TokenGrpcError | None]:
    """All deltas of a generation and the failure that ended it; the engine has been started."""
    deltas: list[Delta] = []
    try:
        async with aclosing(engine.generate(request, before)) as batches:
            assert await anext(batches) == ()
            async for batch in batches:
                assert batch
                deltas += batch
    except TokenGrpcError as error:
        return deltas, error
    return deltas, None


async def run_once(
    engine: Engine, request: GenerationRequest, before: Continuation | None = None
) -> tuple[list[Delta], TokenGrpcError | None]:
    """The same, on an engine that is started and closed for it."""
    await engine.start()
    try:
        return await run(engine, request, before)
    finally:
        await engine.close()


def answer(deltas: list[Delta]) -> str:
    """All text."""
    return "".join(delta.text or "" for delta in deltas)
