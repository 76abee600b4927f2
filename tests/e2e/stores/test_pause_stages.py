"""The stages of a pause at a takeover, from the times of kills, calls and takeovers."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from tests.support.replica_chaos.stages import CONTINUED, RESUMED, TAKEN, Pause, stages


def line(generation_id: str, at: float) -> str:
    timestamp = datetime.fromtimestamp(at, UTC).isoformat()
    return json.dumps(
        {"event": "took over a generation", "generation_id": generation_id, "timestamp": timestamp}
    )


def test_a_pause_is_split_at_its_kill_and_its_takeover() -> None:
    """Kills before it, takeovers of others and half a line do not count."""
    log = "\n".join([line("g", 50.0), line("h", 101.0), line("g", 101.5), line("g", 105.0)[:-9]])
    pause = Pause(generation_id="g", last=100.05, first=102.0, attached=(100.5, 101.0))
    assert stages([pause], [49.0, 100.0, 103.0], [log]) == {RESUMED: [0.5], TAKEN: [1.5], CONTINUED: [0.5]}


def test_a_pause_without_a_kill_has_no_stages() -> None:
    """Such as at a drain."""
    pause = Pause(generation_id="g", last=100.0, first=102.0)
    assert not stages([pause], [90.0], [line("g", 101.0)])
