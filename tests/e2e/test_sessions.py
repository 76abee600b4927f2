"""Session affinity through a whole server with two engines of the same priority."""

from __future__ import annotations

from tests.support.harness import collect
from tests.support.scripted_engine import Status
from tests.support.several_engines import ANSWER, Two, two_engines

# An odd number: engines that take turns would otherwise repeat themselves.
SESSIONS = [f"chat-{number}" for number in range(13)]


async def turns(two: Two) -> dict[str, str]:
    """Runs one request of each session. Returns the engines by session."""
    engines = {}
    for session in SESSIONS:
        outcome = await collect(two.server.stream(session_id=session))
        assert (outcome.code.name, outcome.text) == ("OK", "Well said")
        (engines[session],) = [m.started.engine for m in outcome.messages if m.HasField("started")]
    return engines


async def test_sessions_stay_and_move_only_when_they_must():
    """Each session has its engine, and no id is sent there. A broken engine loses its sessions alone."""
    async with two_engines(of_b={"priority": 0}) as two:
        two.a.script(*ANSWER)
        first = await turns(two)
        assert set(first.values()) == {"a", "b"}
        assert await turns(two) == first
        assert not any("chat-" in str(call.body) for call in (*two.a.calls, *two.b.calls))
        two.a.script(Status(503))
        assert set((await turns(two)).values()) == {"b"}  # failed over, before the breaker and after
        two.a.script(*ANSWER)
        now = two.server.server.clock.now_ns() / 1e9
        two.engines["a"].checked(now, succeeded=True, began=now)
        assert await turns(two) == first


async def test_without_sessions_the_load_decides():
    """Requests without a session use both engines by turns."""
    async with two_engines(of_b={"priority": 0}) as two:
        two.a.script(*ANSWER)
        for _ in range(4):
            await collect(two.server.stream())
        assert (len(two.a.calls), len(two.b.calls)) == (2, 2)
