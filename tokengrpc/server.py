"""The composition root: builds a server from settings, starts, drains and stops it."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import structlog

from tokengrpc import plugins
from tokengrpc.admin.ports import AdminPorts
from tokengrpc.config import price_list
from tokengrpc.core.admission import Admission
from tokengrpc.core.capacity import Capacity, CapacityLimits
from tokengrpc.core.catalog import Catalog
from tokengrpc.core.clock import SystemClock
from tokengrpc.core.ports.budget import BudgetStore, HasRateWindows, KeepsBudgets, SharesRates
from tokengrpc.core.ports.ledger import PricesLostUsage, SparesContinued
from tokengrpc.core.ports.usage_reader import UsageReader
from tokengrpc.core.prices import PriceList
from tokengrpc.core.termination import Termination
from tokengrpc.errors import Draining
from tokengrpc.generations.billing import Billing
from tokengrpc.generations.buffer import EventBuffers
from tokengrpc.generations.health_checks import HealthChecks
from tokengrpc.generations.leases import Leases
from tokengrpc.generations.loop_probe import LoopProbe
from tokengrpc.generations.observers import Observers
from tokengrpc.generations.patience import StorePatience
from tokengrpc.generations.registry import GenerationRegistry
from tokengrpc.generations.services import Services
from tokengrpc.generations.silence_watch import SilenceWatch
from tokengrpc.generations.status import Phase, ServerStatus
from tokengrpc.generations.store_watch import StoreWatch
from tokengrpc.identity.tenants import SettingsTenants
from tokengrpc.limits.fallback_windows import FallbackWindows
from tokengrpc.model_factory import ModelFactory
from tokengrpc.rpc import grpc_aio
from tokengrpc.rpc.acceptors import Acceptors
from tokengrpc.rpc.access_log import AccessLog
from tokengrpc.rpc.admin_servicer import SERVICE as ADMIN_SERVICE
from tokengrpc.rpc.admin_servicer import AdminServicer
from tokengrpc.rpc.authenticators import create_authenticator, create_directory, introduce
from tokengrpc.rpc.call_reports import CallReports
from tokengrpc.rpc.exposure import check_exposure
from tokengrpc.rpc.interceptor import CallInterceptor
from tokengrpc.rpc.lifecycle import Health, register_reflection
from tokengrpc.rpc.listening import listen
from tokengrpc.rpc.load_reporting import LoadReporting
from tokengrpc.rpc.options import server_options
from tokengrpc.rpc.servicer import SERVICE, STARTING, TokenStreamServicer
from tokengrpc.rpc.tls import CertificateFiles
from tokengrpc.rpc.usage_reads import UsageReads
from tokengrpc.rpc.usage_servicer import SERVICE as USAGE_SERVICE
from tokengrpc.rpc.usage_servicer import UsageServicer
from tokengrpc.stores.spill import FileSpill, MemorySpill
from tokengrpc.telemetry.load_reports import LoadReports
from tokengrpc.telemetry.metrics import Metrics
from tokengrpc.telemetry.otel import create_observer as create_exporting_observer
from tokengrpc.wire.encoding import ProtobufEncoder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tokengrpc.config import LimitSettings, Settings
    from tokengrpc.core.capacity import Measurement
    from tokengrpc.core.ports.auth import Authenticator
    from tokengrpc.core.ports.budget import Budget, RateWindows
    from tokengrpc.core.ports.engine import Engine
    from tokengrpc.core.ports.ledger import UsageLedger
    from tokengrpc.core.ports.log import EventSink
    from tokengrpc.core.ports.observer import Observer

SPILL_FILE = "unwritten-usage.jsonl"
_STOP_GRACE = 0.5
"""Seconds for calls that are left after all generations have ended, such as health watches."""

_CLOSE_GRACE = 1.0
"""Seconds in which engines close their connections."""

log = structlog.get_logger(__name__)


class Server:
    """Server with all its parts. Call `start`, then `drain` and `stop`, all in one event loop.

    Plugins that are passed replace those that the settings name; `engines` are by the engine's name.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        ledger: UsageLedger | None = None,
        sink: EventSink | None = None,
        authenticator: Authenticator | None = None,
        budget: Budget | None = None,
        observers: Sequence[Observer] | None = None,
        engines: Mapping[str, Engine] | None = None,
    ) -> None:
        """Creates all parts.

        Raises ConfigError if a plugin cannot be created or a certificate cannot be used, or if other machines
        would reach the server without TLS or authentication.
        """
        check_exposure(settings, has_authenticator=authenticator is not None)
        limits = settings.limits
        self.settings = settings
        self.clock = SystemClock()
        self.encoder = ProtobufEncoder()
        self.buffers = EventBuffers(
            buffer_bytes=limits.generation_log_bytes, total_bytes=limits.total_log_bytes
        )
        self.health = Health()
        self._acceptors = Acceptors(lambda: self.admission.capacity.rejecting)
        self._access_log = AccessLog()
        capacity = Capacity(_capacity_limits(limits), start_wait=self._start_wait)
        self.admission = Admission(limits.max_generations, capacity)
        self._probe = LoopProbe(self._measured)
        self.status = ServerStatus(self._probe, self.admission, self.buffers, self.clock)
        self.ledger: UsageLedger = ledger or plugins.create(
            "ledgers", "ledger", settings.chosen_ledger, settings
        )
        self.prices = PriceList()
        self.use_prices(settings)
        self.sink = sink
        if sink is None and settings.store:
            self.sink = plugins.create("event_stores", "store", settings.store, settings)
        self.authenticator: Authenticator = authenticator or create_authenticator(settings)
        self.directory = create_directory(settings, self.ledger)
        self.tenants = self.directory or SettingsTenants(settings)
        self.budget: Budget = budget or plugins.create("budgets", "budget", settings.budget, settings)
        self._engines = engines or {}
        metrics = Metrics(self.status) if settings.admin_listen else None
        self._load = LoadReports(self.admission, self.status) if settings.load_reports else None
        exported = create_exporting_observer(settings.server_name) if settings.otlp else None
        if exported is not None:
            self.status.dropped_spans = exported.dropped_spans
        chosen = _observers(settings) if observers is None else observers
        own = (metrics, self._load, exported)
        self.observers = Observers((*chosen, *(observer for observer in own if observer is not None)))
        introduce(self.authenticator, self.directory, self.tenants, self.observers.emit)
        self.store_watch = self._connect_stores()
        self.admin = AdminPorts(settings, self.status, metrics)
        self.billing = Billing(
            self.ledger,
            FileSpill(Path(settings.data_dir) / SPILL_FILE) if settings.data_dir else MemorySpill(),
            strict=settings.is_strict,
            patience=_patience("usage ledger", limits),
            observers=self.observers,
            checkpoint_interval=limits.checkpoint_interval,
        )
        self.catalog: Catalog | None = None
        self.port = 0
        self._registry: GenerationRegistry | None = None
        self._leases: Leases | None = None
        self._checks = HealthChecks(self.clock)
        self._silence = SilenceWatch(self.clock)
        self._certificates = CertificateFiles(settings.tls) if settings.tls.cert_file else None
        if self._certificates is not None:
            self.status.certificate_end = self._certificates.end
        self._started: list[StoreWatch | Authenticator | Budget] = []
        self._server = grpc.aio.server(options=server_options(limits))

    @property
    def registry(self) -> GenerationRegistry:
        """Registry of generations. Raises RuntimeError before `start`."""
        if self._registry is None:
            raise RuntimeError("the server was not started")
        return self._registry

    @property
    def address(self) -> str:
        """Address at which clients reach the server: HOST:PORT or unix:/PATH."""
        host = self.settings.listen.rpartition(":")[0]
        return f"{host}:{self.port}" if self.port else self.settings.listen

    def use_prices(self, settings: Settings) -> None:
        """Applies the prices of settings to generations that begin from now on."""
        self.prices = price_list(settings.prices)
        if isinstance(self.ledger, PricesLostUsage):
            self.ledger.use_prices(self.prices)

    async def start(self) -> None:
        """Starts the stores, listens, starts the engines, then accepts generations.

        Raises ConfigError if the address is unavailable or a model cannot be loaded, StoreUnavailable if a
        store cannot be started.
        """
        settings = self.settings
        self.admin.start()
        await self.billing.start()
        if self.directory is not None:
            await self.directory.start()
        for plugin in (self.store_watch, self.authenticator, self.budget):
            if plugin is not None:
                await plugin.start()
                self._started.append(plugin)
        models = ModelFactory(settings.limits, self._engines, self.observers, self.billing.settle)
        self.catalog = Catalog([models.create(model) for model in settings.models], settings.default_model)
        self.status.catalog = self.catalog
        services = Services(
            clock=self.clock,
            encoder=self.encoder,
            buffers=self.buffers,
            billing=self.billing,
            budget=self.budget,
            budget_patience=_patience("budget", settings.limits),
            limits=settings.limits,
            sink=self.sink,
            sink_patience=_patience("event store", settings.limits, self.store_watch),
            store_watch=self.store_watch,
            observers=self.observers,
            lag=self._lag,
            server=settings.server_name or socket.gethostname(),
            prices=lambda: self.prices,
        )
        self._registry = registry = GenerationRegistry(services, self.catalog, self.admission)
        if self.sink is not None:
            self._leases = Leases(
                self.sink,
                services.sink_patience,
                owned=registry.running,
                followed=registry.followed,
            )
            self._leases.start()
        if registry.takeovers is not None:
            registry.takeovers.start()
            if isinstance(self.ledger, SparesContinued):
                self.ledger.spare(registry.takeovers.may_continue)
        interceptor = CallInterceptor(
            self.authenticator,
            _patience("authenticator", settings.limits),
            CallReports(self._access_log, self.observers),
            request_timeout=settings.limits.request_timeout,
            max_awaited_requests=settings.limits.max_awaited_requests,
        )
        served, registered = self._register(registry, self.catalog, interceptor)
        await self.health.register(self._server, settings.limits.request_timeout)
        if settings.reflection != "off":
            admit = grpc_aio.admitting(interceptor) if settings.reflection == "authenticated" else None
            register_reflection(self._server, served, settings.limits.request_timeout, admit)
        credentials = self._certificates.credentials() if self._certificates is not None else None
        # Before an engine is dialled from that port.
        self.port = listen(self._server, settings.listen, credentials)
        await self._server.start()
        self._acceptors.start(self._server, registered)
        await asyncio.gather(*(engine.start() for model in self.catalog.all() for engine in model.engines))
        self._checks.start(self.catalog)
        self._silence.start(self.catalog)
        self.billing.watch(registry.running_usage)
        registry.ready = True
        registry.sweep()
        self._probe.start()
        if settings.ledger == "auto" and not settings.data_dir:
            log.warning("usage is kept in memory only, and lost when the server stops: set data_dir")
        self._enter(Phase.SERVING)
        await self.health.ready()

    def _register(
        self, registry: GenerationRegistry, catalog: Catalog, interceptor: CallInterceptor
    ) -> tuple[list[str], dict[str, grpc_aio.Method]]:
        """Registers the services. Returns the names that reflection lists, and all methods by path."""
        settings = self.settings
        usage = None
        if isinstance(self.ledger, UsageReader):
            usage = UsageReads(self.ledger, _patience("usage ledger", settings.limits))
        handlers = TokenStreamServicer(
            registry, catalog, usage, flush_interval=settings.limits.flush_interval
        ).handlers
        reporting = None if self._load is None else LoadReporting(self._load.report)
        trailers = tuple if reporting is None else reporting.trailers
        registered = grpc_aio.register(self._server, SERVICE, handlers, interceptor, trailers)
        served = [SERVICE.full_name]
        if usage is not None:
            served.append(USAGE_SERVICE.full_name)
            reading = UsageServicer(usage).handlers
            registered |= grpc_aio.register(self._server, USAGE_SERVICE, reading, interceptor)
        if self.directory is not None:
            served.append(ADMIN_SERVICE.full_name)
            patience = _patience("database of tenants", settings.limits)
            administering = AdminServicer(self.directory, self.budget, patience).handlers
            registered |= grpc_aio.register(self._server, ADMIN_SERVICE, administering, interceptor)
        if reporting is not None:
            reporting.register(self._server, settings.limits.request_timeout)
        return served, registered

    @property
    def withdrawal_time(self) -> float:
        """Seconds in which a server that is leaving still accepts calls: none without an event store.

        Without one, a generation that began then would have to end within the drain time.
        """
        return 0.0 if self.sink is None else self.settings.limits.withdrawal_time

    async def withdraw(self) -> None:
        """Tells health checks and probes that this server is leaving. Calls are accepted as before."""
        self._enter(Phase.DRAINING)
        if self._registry is not None:
            self._registry.leaving = True
        await self.health.draining()

    async def begin_drain(self, seconds: float) -> None:
        """Rejects new generations from now on, and tells readers that their streams end in `seconds`."""
        deadline_ns = self.clock.now_ns() + round(seconds * 1e9)
        await self.withdraw()
        self.registry.begin_drain(self.encoder.drain_notice(deadline_ns))

    async def drain(self, seconds: float) -> None:
        """Rejects new generations, waits up to `seconds` for running ones, then ends those that are left."""
        await self.begin_drain(seconds)
        await self.finish_drain(seconds)

    async def finish_drain(self, seconds: float) -> None:
        """Waits up to `seconds` for running generations. Hands over or ends those that are left.

        They are handed over to other servers if there is an event store.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.registry.wait_idle()
        await self._end_generations(
            "the server shut down before the generation had finished: try another one"
        )

    async def stop(self) -> None:
        """Closes all parts, even after a failed start. Running generations end as after a drain."""
        await self.withdraw()
        await self._end_generations("the server is shutting down: try another one")
        if self._leases is not None:
            await self._leases.stop()
        await self._checks.stop()
        await self._silence.stop()
        self._probe.stop()
        await self._server.stop(_STOP_GRACE)
        await self._acceptors.stop()
        self._access_log.flush()
        if self._registry is not None:
            self._registry.close()
        if self.catalog is not None:
            await self._close_engines(self.catalog)
        if self.directory is not None:
            await _patience("database of tenants", self.settings.limits).quietly(self.directory.close)
        if self.budget in self._started:  # it returns to the ledger what it has leased
            self._started.remove(self.budget)
            await _patience("budget", self.settings.limits).quietly(self.budget.close)
        await self.billing.close()
        for plugin in self._started:
            await _patience(type(plugin).__name__, self.settings.limits).quietly(plugin.close)
        self._started.clear()
        await self.observers.close()
        await self.admin.stop()

    async def _close_engines(self, catalog: Catalog) -> None:
        """Closes all engines, and waits for a bounded time."""
        loop = asyncio.get_running_loop()
        closing = [loop.create_task(engine.close()) for model in catalog.all() for engine in model.engines]
        closed, hung = await asyncio.wait(closing, timeout=_CLOSE_GRACE)
        for error in filter(None, (task.exception() for task in closed)):
            log.error("an engine could not be closed", exc_info=error)
        if hung:
            log.warning("engines were not closed in time", count=len(hung), seconds=_CLOSE_GRACE)

    async def _end_generations(self, why: str) -> None:
        """Hands all generations over if there is an event store. Otherwise ends them with DRAINING."""
        if self._registry is not None and self.sink is not None:
            await self._registry.hand_over_all()
        elif self._registry is not None:
            await self._registry.stop_all(Termination.failed(Draining(why)))

    def _connect_stores(self) -> StoreWatch | None:
        """Gives the budget what it counts with: the ledger's database, and that of the event store.

        Returns the watch of the event store, if there is one.
        """
        if isinstance(self.budget, KeepsBudgets):
            store = self.ledger if isinstance(self.ledger, BudgetStore) else None
            self.budget.use_store(store, self.observers.emit)
        if self.sink is None:
            return None
        strict = self.settings.store_outage == "strict"
        patience = _patience("event store", self.settings.limits)
        watch = StoreWatch(self.sink, patience, self.observers, strict=strict)
        self.status.store_available = lambda: watch.available
        self.status.memory_only = lambda: watch.memory_only
        if isinstance(self.budget, SharesRates) and isinstance(self.sink, HasRateWindows):
            windows: RateWindows = self.sink.rate_windows(self.budget.window)
            if not strict:
                windows = FallbackWindows(windows, watch, self.budget.window, patience.call_timeout / 2)
            self.budget.share_rates(windows)
        return watch

    def _enter(self, phase: Phase) -> None:
        self.status.phase = phase
        self.admin.update()

    def _measured(self, measurement: Measurement) -> None:
        self.admission.capacity.measured(measurement)
        if self._load is not None:
            self._load.measured(measurement)

    def _lag(self) -> float:
        """Returns by how many seconds the event loop is late, or has been recently."""
        return max(self.admission.capacity.recent_lag, self._probe.overdue())

    def _start_wait(self) -> float:
        """Returns how long, in seconds, the current call can have waited for its start at most."""
        return max(self._acceptors.longest_wait(STARTING), self._probe.overdue())


def _observers(settings: Settings) -> list[Observer]:
    return [plugins.create("observers", "observers", name, settings) for name in settings.observers]


def _capacity_limits(limits: LimitSettings) -> CapacityLimits:
    return CapacityLimits(
        max_loop_lag=limits.max_loop_lag,
        max_core_share=limits.max_core_share,
        max_core_wait=limits.max_core_wait,
        max_start_wait=limits.max_start_wait,
        min_generations=limits.min_generations,
    )


def _patience(store: str, limits: LimitSettings, watch: StoreWatch | None = None) -> StorePatience:
    return StorePatience(
        store=store, call_timeout=limits.store_timeout, retry_time=limits.store_retry_time, watch=watch
    )
