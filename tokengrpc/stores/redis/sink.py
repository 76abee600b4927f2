"""The event sink in Redis or Valkey."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import structlog

from tokengrpc.core.events import RecordKind
from tokengrpc.core.model import Durability
from tokengrpc.core.ports.log import (
    AppendOutcome,
    AppendStatus,
    Lease,
    LeaseStatus,
    LogClaim,
    LogRefused,
    LogState,
    Takeover,
    TakeoverStatus,
)
from tokengrpc.errors import GenerationNotFound, StoreUnavailable
from tokengrpc.stores.redis import cancels
from tokengrpc.stores.redis.connections import Connections
from tokengrpc.stores.redis.entries import Entries
from tokengrpc.stores.redis.keys import KeyNames, decode_key, encode_key
from tokengrpc.stores.redis.log_reader import LogReader
from tokengrpc.stores.redis.rates import RedisWindows
from tokengrpc.stores.redis.replies import Claimed, Described, Orphaned, TakenOver, each, shaped, text
from tokengrpc.stores.redis.sealing import CHANGED
from tokengrpc.stores.redis.servers.address import Host
from tokengrpc.stores.redis.servers.scripts import Script

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence, Set

    from tokengrpc.core.model import GenerationKey
    from tokengrpc.core.ports.log import Record
    from tokengrpc.stores.redis.options import RedisOptions
    from tokengrpc.stores.redis.sealing import Sealer
    from tokengrpc.stores.redis.servers.address import StoreAddress
    from tokengrpc.stores.redis.servers.topology import Access

log = structlog.get_logger(__name__)

_COUNTED_LEASES = 3
_CHECKS_PER_LEASE = 2
_CHECK_MS = 60_000
_END_SECONDS = 15.0
_KEY, _REQUEST, _FINGERPRINT = b"key", b"request", b"fingerprint"
_HELD = frozenset({LeaseStatus.HELD, LeaseStatus.CANCEL_REQUESTED})
_GONE = frozenset({AppendStatus.FENCED, AppendStatus.UNKNOWN})


class RedisEventSink:
    """Event logs as streams of a store that replicas share. Scripts make the decisions, one per call."""

    def __init__(self, address: StoreAddress, options: RedisOptions, access: Access, sealer: Sealer) -> None:
        self.replica = access.replica
        self.lease = options.lease
        self.durability = Durability(options.durability.upper())
        self._place = address, access, options.prefix
        self._names = KeyNames(options.prefix)
        self._sealer = sealer
        self._entries = Entries(sealer)
        self._connections = Connections(address, options, access, self._names)
        self._logs = LogReader(
            self._connections, self._names, self._entries, options.lease / _CHECKS_PER_LEASE
        )
        self._lease_ms = round(options.lease * 1000)
        self._clocks = (self._lease_ms, round(options.unowned_ttl * 1000))
        # Incarnations of owned logs, by key and epoch: their records are sealed for them.
        self._incarnations: dict[tuple[GenerationKey, int], str] = {}
        # Hashes of abandoned generations that cannot be read, for example for want of their key.
        self._unreadable: Set[bytes] = frozenset()

    def rate_windows(self, seconds: int) -> RedisWindows:
        """See `HasRateWindows`."""
        return RedisWindows(*self._place, seconds)

    async def start(self) -> None:
        """See `EventSink`. Raises ConfigError or StoreUnavailable if the store cannot keep the promise."""
        await self._connections.start()

    async def close(self) -> None:
        """See `EventSink`."""
        await self._connections.close()

    async def check(self) -> None:
        """See `EventSink`. Writes a key on each primary, as an append does."""
        topology, keys = self._connections.topology, dict[Host, str]()
        for name in self._names.checks():
            keys.setdefault(topology.host_of(name), name)
            if len(keys) == len(topology.hosts()):
                break
        appends = self._connections.appends
        await asyncio.gather(
            *(appends.call("SET", name, "", "PX", _CHECK_MS, on=name, durable=True) for name in keys.values())
        )

    async def claim(
        self, key: GenerationKey, fingerprint: bytes, request: bytes, incarnation: str
    ) -> LogClaim:
        """See `EventSink`."""
        seal = self._sealer.seal
        # Both go out together. A log that is listed in vain is removed from the list by `orphans`.
        reply, _ = await asyncio.gather(
            self._run(
                Script.CLAIM,
                key,
                self.replica,
                incarnation,
                *self._clocks,
                seal(incarnation, _KEY, encode_key(key)),
                seal(incarnation, _FINGERPRINT, fingerprint),
                seal(incarnation, _REQUEST, request),
                durable=True,
            ),
            self._list([key]),
        )
        found = shaped(Claimed, reply)
        owned = found.decision != b"refused"
        if owned:
            self._incarnations[key, found.epoch] = incarnation
        incarnation = text(found.incarnation)
        return LogClaim(
            owned=owned,
            epoch=found.epoch,
            owner=text(found.owner),
            fingerprint=self._sealer.open(incarnation, _FINGERPRINT, found.fingerprint),
            incarnation=incarnation,
        )

    async def append(self, key: GenerationKey, epoch: int, records: Sequence[Record]) -> AppendOutcome:
        """See `EventSink`."""
        incarnation = self._incarnations.get((key, epoch), "")
        arguments: list[str | bytes] = []
        for record in records:
            arguments += (record.kind, self._entries.encode(incarnation, record))
        status, last = await self._connections.appends.run(
            Script.APPEND,
            self._names.log(key),
            self.replica,
            epoch,
            *self._clocks,
            records[0].sequence,
            *arguments,
            durable=True,
        )
        outcome = AppendOutcome(AppendStatus(status.decode()), last)
        if outcome.status in _GONE:
            self._incarnations.pop((key, epoch), None)
        return outcome

    async def read(self, key: GenerationKey, after: int, max_bytes: int) -> Sequence[Record]:
        """See `EventSink`."""
        return await self._logs.read(key, after, max_bytes)

    def follow(self, key: GenerationKey, after: int) -> AsyncGenerator[Sequence[Record], None]:
        """See `EventSink`."""
        return self._logs.follow(key, after)

    async def describe(self, key: GenerationKey) -> LogState | None:
        """See `EventSink`."""
        reply = await self._run(Script.DESCRIBE, key)
        if reply is None:
            return None
        found = shaped(Described, reply)
        incarnation = text(found.incarnation)
        return LogState(
            owner=text(found.owner),
            epoch=found.epoch,
            lease_left=found.lease_left / 1000,
            fingerprint=self._sealer.open(incarnation, _FINGERPRINT, found.fingerprint),
            incarnation=incarnation,
            request=self._sealer.open(incarnation, _REQUEST, found.request),
            last=found.last,
            ended=text(found.kind) == RecordKind.FINISHED,
            cancel_requested=bool(found.cancelled),
            subscribers=found.subscribers,
        )

    async def renew(self, epochs: Mapping[GenerationKey, int]) -> Mapping[GenerationKey, Lease]:
        """See `EventSink`."""
        replies = await each(
            self._run(Script.RENEW, key, self.replica, epoch, *self._clocks) for key, epoch in epochs.items()
        )
        leases = {
            key: Lease(LeaseStatus(text(reply[0])), reply[1])
            for key, reply in zip(epochs, replies, strict=True)
            if not isinstance(reply, LogRefused)
        }
        for key, lease in leases.items():
            if lease.status is LeaseStatus.FENCED:
                self._incarnations.pop((key, epochs[key]), None)
        await self._list([key for key, lease in leases.items() if lease.status in _HELD])
        return leases

    async def take_over(self, key: GenerationKey, epoch: int) -> Takeover:
        """See `EventSink`."""
        reply = await self._run(Script.TAKE_OVER, key, self.replica, epoch, *self._clocks, durable=True)
        found = shaped(TakenOver, reply)
        takeover = Takeover(TakeoverStatus(text(found.status)), found.epoch, text(found.owner), found.last)
        if takeover.status is TakeoverStatus.TAKEN:
            self._incarnations[key, takeover.epoch] = text(found.incarnation)
            await self._list([key])
        return takeover

    async def release(self, epochs: Mapping[GenerationKey, int]) -> None:
        """See `EventSink`."""
        for owned in epochs.items():
            self._incarnations.pop(owned, None)
        released = await each(
            self._run(Script.RELEASE, key, self.replica, epoch) for key, epoch in epochs.items()
        )
        hashes = [self._names.hash(key) for key, done in zip(epochs, released, strict=True) if done == 1]
        scored = [argument for hashed in hashes for argument in (0, hashed)]
        if scored:
            await self._index("ZADD", *scored)

    async def retain(self, key: GenerationKey, epoch: int, ttl: float) -> None:
        """See `EventSink`."""
        kept_ms = round(ttl * 1000)
        fenced_ms = max(kept_ms, self._clocks[1])
        # The owner may have to append the end again, which a failover has lost.
        named = min(ttl, _END_SECONDS)
        try:
            if await self._run(Script.RETAIN, key, self.replica, epoch, kept_ms, fenced_ms):
                await self._index("ZREM", self._names.hash(key))
            else:
                named = 0.0
        finally:
            forget, owned = self._incarnations.pop, (key, epoch)
            if named:
                asyncio.get_running_loop().call_later(named, forget, owned, None)
            else:
                forget(owned, None)

    async def orphans(self, limit: int) -> Sequence[GenerationKey]:
        """See `EventSink`."""
        commands, names = self._connections.commands, self._names
        # Those that cannot be read here must not keep this server from the others.
        most = limit + len(self._unreadable)
        listed: list[bytes] = await commands.run(Script.OVERDUE, names.running, most)
        replies = await each(commands.run(Script.ORPHAN, names.log_of(text(hashed))) for hashed in listed)
        found: list[GenerationKey] = []
        gone: list[bytes] = []
        unreadable: dict[bytes, str] = {}
        for hashed, reply in zip(listed, replies, strict=True):
            try:
                if reply is None:
                    gone.append(hashed)
                elif reply != b"held":
                    found.append(self._orphan(reply))
            except LogRefused as error:
                unreadable[hashed] = error.message
        if gone:
            await self._index("ZREM", *gone)
        if unreadable.keys() - self._unreadable:
            log.warning(
                "abandoned generations cannot be taken over by this server",
                count=len(unreadable),
                cause=next(iter(unreadable.values())),
            )
        self._unreadable = unreadable.keys()
        return found

    async def publish_cancel(self, key: GenerationKey) -> None:
        """See `EventSink`."""
        owner = await self._run(Script.CANCEL, key)
        if owner is None:
            raise GenerationNotFound(f"there is no log of generation {key.generation_id[:128]!r}")
        channel = self._names.cancels(owner.decode())
        message = self._sealer.seal(channel, cancels.PLACE, encode_key(key))
        await self._connections.commands.call("PUBLISH", channel, message, on=channel)

    def cancels(self) -> AsyncGenerator[GenerationKey, None]:
        """See `EventSink`."""
        channel = self._names.cancels(self.replica)
        return cancels.listen(self._connections.topology, channel, self._sealer, self._connections.backoff)

    async def count_subscribers(self, counts: Mapping[GenerationKey, int]) -> Mapping[GenerationKey, int]:
        """See `EventSink`."""
        counted_ms = _COUNTED_LEASES * self._lease_ms
        sums = await each(
            self._run(Script.COUNT, key, self.replica, count, counted_ms) for key, count in counts.items()
        )
        return {
            key: 0 if isinstance(sum_, LogRefused) else sum_ for key, sum_ in zip(counts, sums, strict=True)
        }

    def _orphan(self, reply: Any) -> GenerationKey:  # noqa: ANN401 - scripts return any type
        """Returns the generation's key in a reply of `orphan`. Raises LogRefused."""
        if isinstance(reply, LogRefused):
            raise reply
        found = shaped(Orphaned, reply)
        opened = self._sealer.open(text(found.incarnation), _KEY, found.key)
        try:
            return decode_key(opened)
        except ValueError:
            raise LogRefused(CHANGED) from None

    async def _run(
        self, script: Script, key: GenerationKey, *arguments: str | bytes | int, durable: bool = False
    ) -> Any:  # noqa: ANN401 - scripts return any type
        return await self._connections.commands.run(script, self._names.log(key), *arguments, durable=durable)

    async def _list(self, keys: Iterable[GenerationKey]) -> None:
        """Notes in the list of running generations that their leases were renewed. The list is a hint."""
        hashes = [self._names.hash(key) for key in keys]
        if hashes:
            with suppress(StoreUnavailable):
                await self._connections.commands.run(
                    Script.LIST, self._names.running, self._lease_ms, *hashes
                )

    async def _index(self, command: str, *arguments: str | bytes | int) -> None:
        """Changes the list of running generations, which is a hint."""
        with suppress(StoreUnavailable):
            running = self._names.running
            await self._connections.commands.call(command, running, *arguments, on=running)
