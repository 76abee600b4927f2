"""The usage ledger in a database."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy.exc
import structlog

from tokengrpc.config import ConfigError
from tokengrpc.core.ports.ledger import LedgerUnusable
from tokengrpc.errors import StoreUnavailable
from tokengrpc.extras import require
from tokengrpc.stores.sql import budget_leases, database, group, recovery, schema, works
from tokengrpc.stores.sql.one_statement import OneStatement
from tokengrpc.stores.sql.queries import Queries
from tokengrpc.stores.sql.stored_text import storable
from tokengrpc.stores.sql.tenants import SqlTenantStore
from tokengrpc.stores.sql.writer import GroupWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    import sqlalchemy as sa

    from tokengrpc.config import Settings
    from tokengrpc.core.model import GenerationKey, Usage, UsageReport
    from tokengrpc.core.ports.budget import AccountUse, Lease, LeaseRequest
    from tokengrpc.core.ports.ledger import MayContinue, UsageRecord
    from tokengrpc.core.ports.usage_reader import Grouping, LedgerEntry, PageStart, RecordQuery, UsageSum
    from tokengrpc.core.prices import PriceList

T = TypeVar("T")

FILE = "ledger.sqlite3"
"""Name of the database in `data_dir`."""

LEASE = 30.0
"""Seconds after which a process that was not seen is dead, if several may write."""

_SEEN_INTERVAL = 1.0
"""Seconds after which a process notes again, with what it writes, that it lives: how exact the end of a LOST
record is."""

_REST, _LONGEST_REST = 0.001, 0.005
"""Seconds that a group gathers for each running generation but one, and at most."""

_PATIENCE, _LONGEST_PATIENCE = 0.005, 0.02
"""Seconds that an end waits for a beginning for each running generation but one, and at most."""

log = structlog.get_logger(__name__)


class SqlLedger:
    """Usage ledger in SQLite or PostgreSQL. A call returns when its transaction has been committed.

    One thread writes, in groups. Several processes may write to one PostgreSQL database; one whose lease ends
    is dead, and the others close its records as LOST. If it was only stopped, it corrects them when its
    generations end. SQLite belongs to one process, which closes those of its predecessors when it starts.
    """

    durable = True

    def __init__(
        self,
        engine: sa.Engine,
        server: str,
        *,
        lock: database.DirectoryLock | None = None,
        lease: float = LEASE,
    ) -> None:
        """Takes the database and this server's name. With `lock`, the database belongs to one process.

        `lease` is in seconds, and only matters without `lock`.
        """
        self._engine = engine
        self._lease = lease
        # Threads of its own: slow queries do not occupy those that others need, nor all connections.
        self._readers = ThreadPoolExecutor(database.READERS, thread_name_prefix="ledger-reader")
        self._server = server
        self._lock = lock
        self._run_id = secrets.token_hex(8)
        self._seen_at = -math.inf
        self._writer: GroupWriter[works.Work] | None = None
        self._short_way: OneStatement | None = None  # to SQLite
        self._opening: asyncio.Future[None] | None = None
        self._heartbeat: asyncio.Task[None] | None = None
        self._queries = Queries(engine)
        self.tenants = SqlTenantStore(engine)
        self._prices = group.NO_PRICES
        self._may_continue: MayContinue = _none_may_continue
        self._checkpointed: Mapping[str, Usage] = {}
        # Records that this process has begun, and has not changed since: they need not be read.
        self._begun: set[str] = set()

    @property
    def database(self) -> sa.Engine:
        """The database, for maintenance without a server."""
        return self._engine

    def use_prices(self, prices: PriceList) -> None:
        """See `PricesLostUsage`."""
        self._prices = prices

    def spare(self, may_continue: MayContinue) -> None:
        """See `SparesContinued`."""
        self._may_continue = may_continue

    async def start(self) -> None:
        """See `UsageLedger`. Creates or changes the tables, and closes the records of dead processes."""
        self._opening = asyncio.ensure_future(asyncio.to_thread(self._open))
        await asyncio.shield(self._opening)
        self._writer = GroupWriter("ledger", self._write, self._rest, self._patience)
        if self._lock is not None:
            await self._close_lost(None)
        else:
            self._heartbeat = asyncio.get_running_loop().create_task(self._live())

    async def close(self) -> None:
        """See `UsageLedger`."""
        if self._heartbeat is not None:
            self._heartbeat.cancel()
            await asyncio.wait([self._heartbeat])
        if self._writer is not None:
            await self._writer.close()
        self._readers.shutdown(wait=False, cancel_futures=True)
        if self._opening is not None:
            with suppress(StoreUnavailable):
                await self._opening
        await asyncio.to_thread(self._release)

    async def begin(self, record: UsageRecord) -> None:
        """See `UsageLedger`."""
        await self._do(works.Begin(record))

    async def checkpoint(self, usages: Mapping[str, Usage]) -> None:
        """See `UsageLedger`. Writes what has changed since the last checkpoint."""
        before = self._checkpointed
        changed = {id_: usage for id_, usage in usages.items() if before.get(id_) != usage}
        await self._do(works.Checkpoint(changed))
        self._checkpointed = usages

    async def finish(self, record: UsageRecord) -> None:
        """See `UsageLedger`."""
        await self._do(works.Finish(record), patient=True)

    async def settle(self, record_id: str, usage: UsageReport) -> None:
        """See `UsageLedger`. Ignores a record that does not exist."""
        await self._do(works.Settle(record_id, usage))

    async def find(self, tenant: str, generation_id: str) -> UsageRecord | None:
        """See `UsageReader`."""
        return await self._read(lambda: self._queries.find(tenant, generation_id))

    async def list_records(
        self, query: RecordQuery, after: PageStart | None, limit: int
    ) -> Sequence[UsageRecord]:
        """See `UsageReader`."""
        return await self._read(lambda: self._queries.list_records(query, after, limit))

    async def summarize(self, query: RecordQuery, grouping: Grouping, limit: int) -> Sequence[UsageSum]:
        """See `UsageReader`."""
        return await self._read(lambda: self._queries.summarize(query, grouping, limit))

    async def entries(self, after: int, limit: int, tenant: str = "") -> Sequence[LedgerEntry]:
        """See `UsageReader`."""
        return await self._read(lambda: self._queries.entries(after, limit, tenant))

    async def newest_sequence(self, tenant: str = "") -> int:
        """See `UsageReader`."""
        return await self._read(lambda: self._queries.newest_sequence(tenant))

    async def lease_budgets(self, requests: Sequence[LeaseRequest], seconds: float) -> Sequence[Lease]:
        """See `BudgetStore`."""

        def lease() -> Sequence[Lease]:
            with database.translated("usage ledger"), self._engine.begin() as connection:
                return budget_leases.lease(connection, requests, self._run_id, seconds)

        return await self._read(lease)

    async def budget_use(self, tenant: str, since_ns: int) -> Sequence[AccountUse]:
        """See `BudgetStore`."""

        def use() -> Sequence[AccountUse]:
            reading = self._engine.execution_options(reads=True)
            with database.translated("usage ledger"), reading.begin() as connection:
                return budget_leases.use(connection, storable(tenant), since_ns)

        return await self._read(use)

    async def _do(self, work: works.Work, *, patient: bool = False) -> None:
        if self._writer is None:
            raise StoreUnavailable("the usage ledger was not started")
        await self._writer.do(work, patient=patient)

    async def _read(self, query: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, query)

    def _open(self) -> None:
        if self._lock is not None:
            self._lock.acquire()
        try:
            with database.translated("usage ledger"):
                schema.migrate(self._engine)
                with self._engine.begin() as connection:
                    recovery.seen(connection, self._run_id, self._server)
                    if self._lock is not None:  # those that had leases are dead
                        budget_leases.void_all(connection)
                if self._engine.dialect.name == "sqlite":
                    self._short_way = OneStatement(self._engine)
        except StoreUnavailable as error:
            self._release()
            message = error.message
            if isinstance(error.__cause__, sqlalchemy.exc.SQLAlchemyError):  # the database's own words
                message += "; check the settings `ledger` and `data_dir`, and that the database runs"
            # Waiting does not mend a local file, but a server can come up.
            is_away = self._lock is None and database.is_away(error)
            raise (StoreUnavailable if is_away else LedgerUnusable)(message) from error

    def _release(self) -> None:
        if self._short_way is not None:
            self._short_way.close()
        self._engine.dispose()
        if self._lock is not None:
            self._lock.release()

    def _rest(self) -> float:
        """Returns for how long the next group gathers: not at all for the calls of one generation."""
        return min(_LONGEST_REST, _REST * max(0, len(self._begun) - 1))

    def _patience(self) -> float:
        """Returns for how long an end waits to be written together with the beginning of another one."""
        return min(_LONGEST_PATIENCE, _PATIENCE * max(0, len(self._begun) - 1))

    def _write(self, gathered: Sequence[works.Work]) -> None:
        with database.translated("usage ledger"):
            try:
                self._write_group(gathered, self._begun)
            except sqlalchemy.exc.IntegrityError:
                # A call was repeated, or another process has closed a record as LOST.
                self._write_group(gathered, None)
        for work in gathered:
            match work:
                case works.Begin(record):
                    self._begun.add(record.record_id)
                case works.Finish(record):
                    self._begun.discard(record.record_id)
                case works.Settle(record_id):
                    self._begun.discard(record_id)

    def _write_group(self, gathered: Sequence[works.Work], begun: Collection[str] | None) -> None:
        now = time.monotonic()
        is_due = now - self._seen_at >= min(_SEEN_INTERVAL, self._lease / 4)
        if (
            not is_due
            and begun is not None
            and self._short_way is not None
            and self._short_way.write(gathered, self._run_id, time.time_ns(), begun)
        ):
            return
        with self._engine.begin() as connection:
            added = group.write(connection, gathered, self._run_id, time.time_ns(), self._prices, begun=begun)
            # A group without entries is written too: it proves that the database takes writes.
            if is_due or not added:
                recovery.seen(connection, self._run_id, self._server)
                self._seen_at = now

    async def _live(self) -> None:
        """Renews this process's lease, and closes the records of processes whose lease has ended.

        After an outage of the database, all leases have ended. The other processes then have as long as a
        lease lasts to renew theirs.
        """
        now = asyncio.get_running_loop().time
        seen = since = now()
        while True:
            await asyncio.sleep(self._lease / 3)
            try:
                await self._do(works.Checkpoint({}))
                if now() - seen > self._lease:
                    since = now()
                seen = now()
                if seen - since >= self._lease:
                    await self._close_lost(self._lease)
            except StoreUnavailable as error:
                log.warning("the lease on usage records was not renewed", cause=error.message)
            except Exception:
                log.exception("unexpected error while renewing the lease on usage records")

    async def _close_lost(self, lease: float | None) -> None:
        spared: set[str] = set()
        while found := await self._read(lambda: self._find_lost(lease, spared)):
            spared.update(await self._may_continue({id_: record.key for id_, record in found.items()}))
            lost = {id_: record.seen_ns for id_, record in found.items() if id_ not in spared}
            if lost:
                log.warning(
                    "closing usage records of a server that died, with its last checkpoints", count=len(lost)
                )
                await self._do(works.Lose(list(lost), lost))

    def _find_lost(self, lease: float | None, spared: Collection[str]) -> dict[str, recovery.LostRecord]:
        with database.translated("usage ledger"), self._engine.begin() as connection:
            return recovery.lost_records(connection, self._run_id, lease, spared)


async def _none_may_continue(_keys: Mapping[str, GenerationKey]) -> Collection[str]:
    return ()


def create_sqlite(value: str, options: Mapping[str, Any], settings: Settings) -> SqlLedger:
    """Creates the ledger `sqlite`, in `data_dir` or at the path of `sqlite:PATH`. Raises ConfigError."""
    if options:
        raise ConfigError("plugins.sqlite: the ledger `sqlite` has no settings")
    given = value.partition(":")[2]
    if not given and not settings.data_dir:
        raise ConfigError("ledger: `sqlite` needs data_dir, the directory that it is kept in")
    if given.startswith("//"):
        raise ConfigError(
            f"ledger: `{value}`: name a file as sqlite:PATH, such as sqlite:/data/usage.sqlite3"
        )
    path = Path(given) if given else Path(settings.data_dir) / FILE
    engine = database.sqlite(path, settings.limits.store_timeout)
    return SqlLedger(engine, settings.server_name, lock=database.DirectoryLock(path.parent))


def create_postgresql(value: str, options: Mapping[str, Any], settings: Settings) -> SqlLedger:
    """Creates the ledger `postgresql` of a URL. Raises ConfigError.

    The option `password_file` names a file with the password; libpq's own variables and files work as well.
    After `lease` seconds without a sign of a server, the others close its records.
    """
    unknown = set(options) - {"password_file", "lease"}
    if unknown:
        raise ConfigError(f"plugins.postgresql.{min(unknown)}: unknown; known: password_file, lease")
    lease = options.get("lease", LEASE)
    if not isinstance(lease, int | float) or not 1 <= lease <= 86_400:
        raise ConfigError(
            f"plugins.postgresql.lease: {lease!r}: a number of seconds from 1 to 86400 is needed"
        )
    file = options.get("password_file", "")
    try:
        require("postgresql", "postgresql")
        password = Path(file).read_text().strip() if file else ""
        engine = database.postgresql(value, settings.limits.store_timeout, password)
    except OSError as error:
        raise ConfigError(f"plugins.postgresql.password_file: {file}: {error.strerror}") from error
    except (ValueError, ImportError) as error:
        raise ConfigError(f"ledger: {error}") from error
    return SqlLedger(engine, settings.server_name, lease=float(lease))
