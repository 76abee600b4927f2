"""Streams that run while servers fail: each with two readers, whose histories are checked at its end."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tokenstreaming.v1 import input_pb2
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.engine_process import answer
from tests.support.replica_chaos.histories import DENIALS, verdicts
from tests.support.replica_chaos.readers import pauses, record
from tests.support.replica_chaos.stores import broken
from tokengrpc.client.cursor import Cursor

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence, Set

    from tests.support.replica_chaos.fleet import Fleet
    from tests.support.replica_chaos.histories import End, History
    from tests.support.replica_chaos.stages import Pause
    from tokengrpc.client.client import TokenStreamClient

SWITCHES = 8
"""As many as a request may allow."""


@dataclass
class Tally:
    """What was seen, and everything that is wrong.

    `ends` are those of generations, by id. `deniable` are the ids of those whose log may have been lost.
    `stages` are the seconds of the pauses' stages, by name.
    """

    counts: Counter[str] = field(default_factory=Counter)
    pauses: list[Pause] = field(default_factory=list)
    stages: Mapping[str, Sequence[float]] = field(default_factory=dict)
    ends: dict[str, End | None] = field(default_factory=dict)
    deniable: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)

    def expect(self, what: str, *, holds: bool) -> None:
        """Notes what does not hold."""
        if not holds:
            self.wrong.append(what)


class Load:
    """Keeps some streams running. `allowed` are the reasons with which a reader may end early."""

    def __init__(self, fleet: Fleet, tally: Tally, chance: random.Random, *, tokens: int) -> None:
        self.running: set[str] = set()
        self.allowed: Set[str] = frozenset()
        self._fleet = fleet
        self._tally = tally
        self._chance = chance
        self._tokens = tokens
        self._stopped = False
        self._count = 0
        self._changed = asyncio.Event()
        self._shown = Counter[str]()

    async def run(self, streams: int) -> None:
        """Runs one generation after another on each of the streams, until `stop`."""
        fleet = self._fleet
        async with fleet.client() as client, asyncio.TaskGroup() as group:
            for _ in range(streams):
                group.create_task(self._stream(client))

    def stop(self) -> None:
        """Starts no more generations. Those that run go on to their end."""
        self._stopped = True

    async def renew(self) -> None:
        """Waits until all streams that run now have ended, and allows no more than before from then on."""
        left = set(self.running)
        while left & self.running:
            self._changed.clear()
            await self._changed.wait()
        self.allowed = frozenset()

    async def go_on(self) -> None:
        """Waits until all generations that run now have ended or shown something more.

        Then their logs have what the store had lost of them: what is shown later is written later.
        """
        before = {generation_id: self._shown[generation_id] for generation_id in self.running}
        while any(self._shown[each] == before[each] for each in before.keys() & self.running):
            self._changed.clear()
            await self._changed.wait()

    def _show(self, generation_id: str, sequence: int) -> None:
        self._shown[generation_id] = max(self._shown[generation_id], sequence)
        self._changed.set()

    async def _stream(self, client: TokenStreamClient) -> None:
        while not self._stopped:
            self._count += 1
            generation_id = f"g{self._count}"
            self.running.add(generation_id)
            try:
                await self._one(client, generation_id)
            finally:
                self.running.discard(generation_id)
                self._changed.set()

    async def _one(self, client: TokenStreamClient, generation_id: str) -> None:
        prompt, tally = f"generation {generation_id} of {self._tokens}\n", self._tally
        begun = asyncio.Event()

        def show(sequence: int) -> None:
            begun.set()
            self._show(generation_id, sequence)

        request = pb.StreamTokensRequest(
            generation_id=generation_id,
            prompt=prompt,
            # After a takeover, the halves of a character may count twice.
            max_output_token_count=2 * self._tokens,
            recovery=input_pb2.Recovery(max_engine_switch_count=SWITCHES),
        )
        stream = client.stream(request)
        allowed = self.allowed
        async with asyncio.TaskGroup() as group:
            first = group.create_task(record(stream, "starter", on_message=show))
            first.add_done_callback(lambda _: begun.set())
            second = group.create_task(self._second(generation_id, begun))
        histories = [first.result(), second.result()]
        tally.ends[generation_id] = histories[0].end
        allowed |= self.allowed
        if "STREAM_GAP" in allowed and any(history.failure == "STREAM_GAP" for history in histories):
            allowed |= {"CANCELLED"}  # by the client that found it, for all readers
        found = verdicts(histories, answer(prompt, self._tokens), allowed)
        tally.wrong += [f"{generation_id}: {verdict}" for verdict in found]
        if found:
            tally.wrong += [f"{generation_id}: {history}" for history in histories]
        if allowed & DENIALS:
            tally.deniable.add(generation_id)
        else:
            problem = broken(await self._fleet.store.entries(generation_id))
            tally.expect(f"{generation_id}: {problem}", holds=not problem)
        self._count_seen(generation_id, histories)

    async def _second(self, generation_id: str, begun: asyncio.Event) -> History:
        """Reads the same generation on one server alone, from its beginning."""
        number = self._chance.randrange(len(self._fleet.servers))
        wait = self._chance.random()
        await begun.wait()
        await asyncio.sleep(wait)
        async with self._fleet.client_of(number) as client:
            stream = client.resume(Cursor(generation_id))
            return await record(
                stream,
                f"reader of server {number}",
                on_message=lambda sequence: self._show(generation_id, sequence),
            )

    def _count_seen(self, generation_id: str, histories: list[History]) -> None:
        tally = self._tally
        tally.counts["generations"] += 1
        for history in histories:
            tally.counts["readers"] += 1
            tally.counts["tokens read"] += sum(seen.count for seen in history.seen)
            ended = history.failure or (history.end.error or "whole" if history.end else "no end")
            tally.counts[f"readers that ended: {ended}"] += 1
            for seen in history.seen:
                if seen.switched:
                    tally.counts[f"switches seen: {seen.switched}"] += 1
        # The other reader waits until the only server that it knows has started again.
        tally.pauses += pauses(generation_id, histories[0])
