"""The tenants that the server knows: those of its settings, and those of the database with their keys."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING

import structlog

from tokengrpc.config import ConfigError
from tokengrpc.core.ports.observer import StoreStateChanged
from tokengrpc.core.tenant import Identity
from tokengrpc.errors import StoreUnavailable, TokenGrpcError
from tokengrpc.identity.key_uses import KeyUses
from tokengrpc.identity.known_tenants import KnownTenants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tokengrpc.config import Settings
    from tokengrpc.core.ports.observer import ObserverEvent
    from tokengrpc.core.ports.tenant_store import TenantStore
    from tokengrpc.core.tenant import Tenant
    from tokengrpc.identity.tenants import SettingsTenants

POLL_INTERVAL = 0.25
"""Seconds between two looks at the audit: changes count within a second, the time of the look included."""

_SPACING = 0.05
"""Least seconds between two looks, however many callers wait for one because of an unknown name or key."""

log = structlog.get_logger(__name__)


class TenantDirectory:
    """Tenants of the settings, and a copy of the store that follows the store's audit.

    A tenant of the settings goes before one of the same name in the store. While the store is away, the copy
    is good for `outage_time` seconds; after that, everything of the store is unavailable. A name or key that
    is not in the copy is looked for once more, by a look at the audit that all such callers share: so an
    unknown key costs no query of its own.
    """

    def __init__(
        self,
        static: SettingsTenants,
        store: TenantStore,
        *,
        call_timeout: float,
        outage_time: float,
        strict: bool = True,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Takes the settings' tenants and the store; `call_timeout` is for one look, in seconds.

        If not `strict`, it starts while the store is away.
        """
        self.store = store
        self._static = static
        self._timeout = call_timeout
        self._outage_time = max(outage_time, 2 * POLL_INTERVAL)
        self._strict = strict
        self._now_ns = now_ns
        self._known = KnownTenants()
        self._uses = KeyUses(store, call_timeout=call_timeout)
        self._current_at = -math.inf
        self._is_loaded = False
        self._wanted = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None
        self._is_away = False
        self._hidden: frozenset[str] = frozenset()
        self._emit: Callable[[ObserverEvent], None] = lambda _event: None

    def report_to(self, emit: Callable[[ObserverEvent], None]) -> None:
        """See `ReportsStores`."""
        self._emit = emit

    async def start(self) -> None:
        """Starts the store, reads it, and follows it from now on.

        If the store is away, raises StoreUnavailable if `strict`; otherwise reads it when it comes up. Raises
        ConfigError if a tenant of the settings has the name of one in the store.
        """
        try:
            self._current_at = await self._load()
        except StoreUnavailable as error:
            if self._strict:
                raise
            self._away(error.message)
        self._check_names(self._static.names)
        self._uses.start()
        self._task = asyncio.get_running_loop().create_task(self._follow())

    async def close(self) -> None:
        """Stops following, and closes the store."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._answer(StoreUnavailable("the server is shutting down: try another one"))
            await self._uses.close()
        await self.store.close()

    def check(self, settings: Settings) -> None:
        """Raises ConfigError if a tenant of new settings has the name of one in the store."""
        self._check_names(tenant.name for tenant in settings.tenants)

    def reload(self, settings: Settings) -> None:
        """Takes the tenants of new settings, for the calls from now on."""
        self._static.reload(settings)

    def is_static(self, name: str) -> bool:
        """Returns whether a tenant is one of the settings."""
        return name in self._static.names

    def is_current(self, sequence: int) -> bool:
        """Returns whether all changes up to a sequence of the audit count here."""
        return self._known.sequence >= sequence

    async def find_tenant(self, name: str) -> Tenant | None:
        """See `TenantLookup`."""
        if self.is_static(name):
            return await self._static.find_tenant(name)
        self._check_current()
        if name not in self._known.tenants:
            await self.refresh()
        return self._known.tenants.get(name)

    async def find_key(self, digest: str) -> Identity | None:
        """See `KeyLookup`."""
        self._check_current()
        if digest not in self._known.keys:
            await self.refresh()
        key = self._known.keys.get(digest)
        now_ns = self._now_ns()
        if key is None or not key.is_usable(now_ns):
            return None
        tenant = self._known.tenants.get(key.tenant)
        if tenant is None or self.is_static(key.tenant):
            return None
        self._uses.add(key.id, now_ns)
        return Identity(tenant=tenant, subject=key.id, scopes=key.scopes)

    async def refresh(self) -> None:
        """Returns once everything counts that was committed before this call. Raises StoreUnavailable."""
        if self._task is None or self._task.done():
            raise StoreUnavailable("the tenants' database is not followed: try again later")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self._wanted.set()
        await done

    def _check_current(self) -> None:
        if not self._is_loaded:
            raise StoreUnavailable("tenants and keys could not be read yet: try again later")
        age = asyncio.get_running_loop().time() - self._current_at
        if self._is_away and age > self._outage_time:
            raise StoreUnavailable(
                f"tenants and keys could not be read for {age:.0f} s and may have changed: try again later"
            )

    def _check_names(self, names: Iterable[str]) -> None:
        both = sorted(set(names) & self._known.tenants.keys())
        if both:
            raise ConfigError(
                f"tenants: {both[0]} is in the database too; delete it there, or choose another name"
            )

    async def _follow(self) -> None:
        while True:
            try:
                async with asyncio.timeout(POLL_INTERVAL):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            self._wanted.clear()
            # Those that come while the look is under way wait for the next one.
            waiting, self._waiting = self._waiting, []
            error = await self._look()
            _resolve(waiting, error)
            await asyncio.sleep(_SPACING)

    async def _load(self) -> float:
        """Starts the store, and reads everything for the first time. Returns when that began."""
        await self.store.start()
        began = asyncio.get_running_loop().time()
        # Of an attempt that was cut off, nothing is kept: it may be deleted by now.
        known = KnownTenants()
        await known.load(self.store)
        self._known, self._is_loaded = known, True
        return began

    async def _look(self) -> TokenGrpcError | None:
        """Looks at the audit once. Returns why it could not."""
        try:
            if not self._is_loaded:
                self._current_at = await self._load()
            began = asyncio.get_running_loop().time()
            async with asyncio.timeout(self._timeout):
                await self._known.follow(self.store)
        except TimeoutError:
            return self._away(f"the database of tenants did not answer within {self._timeout:g} s")
        except StoreUnavailable as error:
            return self._away(error.message)
        except Exception:
            log.exception("unexpected error while reading tenants")
            return self._away("unexpected error")
        self._current_at = began
        self._known.drop_expired(self._now_ns())
        self._report()
        return None

    def _away(self, cause: str) -> StoreUnavailable:
        if not self._is_away:
            self._is_away = True
            log.warning(
                "the database of tenants is away: what is known counts for a while"
                if self._is_loaded
                else "the database of tenants is away: nothing is known of it yet",
                seconds=self._outage_time if self._is_loaded else None,
                cause=cause,
            )
            self._emit(StoreStateChanged(store="tenants", available=False))
        return StoreUnavailable("tenants and keys cannot be read now: try again later")

    def _report(self) -> None:
        if self._is_away:
            self._is_away = False
            log.info("the database of tenants is back")
            self._emit(StoreStateChanged(store="tenants", available=True))
        hidden = frozenset(self._static.names & self._known.tenants.keys())
        if hidden - self._hidden:
            log.error(
                "tenants of the settings are in the database too: these do not count", names=sorted(hidden)
            )
        self._hidden = hidden

    def _answer(self, error: StoreUnavailable) -> None:
        waiting, self._waiting = self._waiting, []
        _resolve(waiting, error)


def _resolve(waiting: Iterable[asyncio.Future[None]], error: TokenGrpcError | None) -> None:
    for done in waiting:
        if not done.done():
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)
