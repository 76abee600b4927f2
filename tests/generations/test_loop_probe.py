"""The probe of the event loop, on a real loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from tests.support.harness import until
from tokengrpc.generations.loop_probe import LoopProbe

if TYPE_CHECKING:
    from tokengrpc.core.capacity import Measurement


async def test_it_measures_on_after_its_receiver_failed():
    """Health and admission depend on it. Each series of failures is logged once."""
    received: list[Measurement] = []
    failing = {1, 2, 4}

    def receive(measurement: Measurement) -> None:
        received.append(measurement)
        if len(received) in failing:
            raise ValueError(measurement)

    probe = LoopProbe(receive)
    with capture_logs() as lines:
        probe.start()
        await until(lambda: len(received) > 4, "it measures on")
        probe.stop()
    assert len(lines) == 2
    assert all("could not be used" in line["event"] for line in lines)


async def test_a_receiver_may_stop_it():
    """Then nothing more is measured."""
    received: list[Measurement] = []

    def receive(measurement: Measurement) -> None:
        received.append(measurement)
        probe.stop()

    probe = LoopProbe(receive)
    probe.start()
    await until(lambda: received, "it measures")
    assert probe.heartbeat_age() == 0
