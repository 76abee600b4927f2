"""Where the pause of a reader goes whose server was killed: times of kills, of takeovers and of calls."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_TAKEN = "took over a generation"
_IN_FLIGHT = 0.1
"""Seconds for which output that was sent before a kill may arrive after it."""
RESUMED = "kill to attached elsewhere"
TAKEN = "kill to taken over"
CONTINUED = "taken over to next output"


@dataclass(frozen=True, kw_only=True)
class Pause:
    """Pause of a reader at a takeover: the times of the output before and after it, on the system clock.

    `attached` are the times at which the reader was attached to a server.
    """

    generation_id: str
    last: float
    first: float
    attached: tuple[float, ...] = ()

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.first - self.last


def stages(
    pauses: Iterable[Pause], kills: Iterable[float], logs: Iterable[str]
) -> Mapping[str, Sequence[float]]:
    """Splits pauses at the kill, at the takeover that a server logged, and at the reader's next call.

    Returns the seconds of each stage, by its name. Pauses without a kill, as at a drain, are left out.
    """
    taken, killed = _takeovers(logs), sorted(kills)
    result: dict[str, list[float]] = {}
    for pause in pauses:
        kill = next((at for at in killed if pause.last - _IN_FLIGHT < at < pause.first), None)
        take = max((at for at in taken.get(pause.generation_id, ()) if at < pause.first), default=None)
        if kill is None or take is None or take < kill:
            continue
        attached = next((at for at in pause.attached if kill < at <= pause.first), None)
        if attached is not None:
            result.setdefault(RESUMED, []).append(attached - kill)
        result.setdefault(TAKEN, []).append(take - kill)
        result.setdefault(CONTINUED, []).append(pause.first - take)
    return result


def _takeovers(logs: Iterable[str]) -> Mapping[str, Sequence[float]]:
    """Returns the times of the takeovers of each generation, from what servers logged."""
    found: dict[str, list[float]] = {}
    for line in "\n".join(logs).splitlines():
        if _TAKEN in line:
            with suppress(ValueError):  # a server that is killed may leave half a line
                entry = json.loads(line)
                at = datetime.fromisoformat(entry["timestamp"]).timestamp()
                found.setdefault(entry["generation_id"], []).append(at)
    return found
