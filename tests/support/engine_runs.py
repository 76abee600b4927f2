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
    """Returns all deltas of a generation and the error that ended it. The engine must be started."""
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
    """Starts the engine, runs a generation, and closes the engine. Returns the same as `run`."""
    await engine.start()
    try:
        return await run(engine, request, before)
    finally:
        await engine.close()


def answer(deltas: list[Delta]) -> str:
    """Returns the text of all deltas."""
    return "".join(delta.text or "" for delta in deltas)
