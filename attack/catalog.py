"""All attacks by name, and what a good client may notice of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from attack import floods, peers, requests

if TYPE_CHECKING:
    from collections.abc import Callable

    from attack.raider import Raid


@dataclass(frozen=True, kw_only=True)
class Attack:
    """An attack, and how much slower the calls of a good client may become while it lasts."""

    run: Callable[[Raid], None]
    p99_ratio: float = 2.0


ATTACKS: Final[dict[str, Attack]] = {
    "rapid reset, headers": Attack(run=floods.reset_headers),
    "rapid reset, requests": Attack(run=floods.reset_requests),
    "resets by the server": Attack(run=floods.made_resets),
    "SETTINGS": Attack(run=floods.settings),
    "PING": Attack(run=floods.pings),
    "WINDOW_UPDATE": Attack(run=floods.window_updates),
    "PRIORITY": Attack(run=floods.priorities),
    "empty DATA": Attack(run=floods.empty_data),
    # gRPC reads a connection's bytes on its own threads, which share the cores with everything else.
    "CONTINUATION": Attack(run=floods.continuations, p99_ratio=10.0),
    "random frames": Attack(run=floods.garbage),
    "short connections": Attack(run=floods.connections),
    "silent connections": Attack(run=peers.silent),
    "half a preface": Attack(run=peers.half_preface),
    "slow headers": Attack(run=peers.slow_headers),
    "slow bodies": Attack(run=peers.slow_bodies),
    "unread streams": Attack(run=peers.unread_streams),
    "large metadata": Attack(run=requests.metadata),
    "malformed timeouts": Attack(run=requests.timeouts),
    "expired deadlines": Attack(run=requests.expired),
    "decompression bombs": Attack(run=requests.bombs),
    "expensive requests": Attack(run=requests.expensive),
}
