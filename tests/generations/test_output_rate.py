"""What admission learns of the rate at which streams have output, on a real server and engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.harness import collect, read_until, serving, upstream
from tests.support.scripted_engine import Done, Finish, Pause, ScriptedEngine, Text, UsageChunk

if TYPE_CHECKING:
    import pytest


async def test_output_after_the_first_is_counted(
    engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise all streams would look as if they had none, and cheap."""
    pauses = [Pause() for _ in range(3)]
    steps = [step for pause in pauses for step in (pause, Text("b"))]
    engine.script(Text("a"), *steps, Finish("stop"), UsageChunk(), Done())
    counted: list[int] = []
    async with serving(upstream(engine.base_url)) as served:
        monkeypatch.setattr(served.server.admission.capacity, "output", counted.append)
        call = served.stream()
        for pause in pauses:
            await read_until(call, lambda message: message.tokens)
            pause.release()
        outcome = await collect(call)
    assert outcome.finished is not None
    assert sum(counted) == len(pauses)
