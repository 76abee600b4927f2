"""The composition root: builds a server from settings, starts, drains and stops it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import structlog

from tokengrpc import plugins
from tokengrpc.config import ConfigError
from tokengrpc.core.admission import Admission
from tokengrpc.core.catalog import Catalog, ClockLimits, ServedModel
from tokengrpc.core.clock import SystemClock
from tokengrpc.core.ports.engine import ReportsLateUsage
from tokengrpc.core.ports.observer import BreakerChanged
from tokengrpc.core.routing import EnginePool, PooledEngine
from tokengrpc.core.termination import Termination
from tokengrpc.engines.simulator.engine import PARAM, RequestPlans, with_faults
from tokengrpc.errors import Draining
from tokengrpc.generations.billing import Billing
from tokengrpc.generations.buffer import EventBuffers
from tokengrpc.generations.health_checks import HealthChecks
from tokengrpc.generations.observers import Observers
from tokengrpc.generations.patience import StorePatience
from tokengrpc.generations.registry import GenerationRegistry
from tokengrpc.generations.services import Services
from tokengrpc.rpc import grpc_aio
from tokengrpc.rpc.interceptor import CallInterceptor
from tokengrpc.rpc.lifecycle import Health, register_reflection
from tokengrpc.rpc.options import server_options
from tokengrpc.rpc.servicer import SERVICE, TokenStreamServicer
from tokengrpc.stores.spill import FileSpill, MemorySpill
from tokengrpc.tokenizers.tiktoken import load as load_tokenizer
from tokengrpc.wire.encoding import ProtobufEncoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.config import EngineSettings, LimitSettings, ModelSettings, Settings
    from tokengrpc.core.ports.auth import Authenticator
    from tokengrpc.core.ports.budget import Budget
    from tokengrpc.core.ports.engine import Engine, Tokenizer
    from tokengrpc.core.ports.ledger import UsageLedger
    from tokengrpc.core.ports.log import EventSink
    from tokengrpc.core.ports.observer import Observer

ESTIMATOR = "o200k_base"
SPILL_FILE = "unwritten-usage.jsonl"
_STOP_GRACE = 0.5
"""Seconds for calls that are left after all generations have ended, such as health watches."""

log = structlog.get_logger(__name__)


class Server:
    """Server with all its parts. Call `start`, then `drain` and `stop`, all in one event loop.

    Plugins that are passed replace those that the settings name.
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
    ) -> None:
        """Creates all parts. Raises ConfigError if a plugin cannot be created."""
        limits = settings.limits
        self.settings = settings
        self.clock = SystemClock()
        self.encoder = ProtobufEncoder()
        self.buffers = EventBuffers(
            buffer_bytes=limits.generation_log_bytes, total_bytes=limits.total_log_bytes
        )
        self.health = Health()
        self.admission = Admission(limits.max_generations)
        self.ledger: UsageLedger = ledger or plugins.create("ledgers", "ledger", settings.ledger, settings)
        self.sink = sink
        if sink is None and settings.store:
            self.sink = plugins.create("event_stores", "store", settings.store, settings)
        self.authenticator: Authenticator = authenticator or plugins.create(
            "authenticators", "authenticator", settings.authenticator, settings
        )
        self.budget: Budget = budget or plugins.create("budgets", "budget", settings.budget, settings)
        self.observers = Observers(_observers(settings) if observers is None else observers)
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
        self._checks = HealthChecks(self.clock)
        self._started: list[UsageLedger | EventSink | Authenticator | Budget] = []
        self._server = grpc.aio.server(options=server_options(limits))

    @property
    def registry(self) -> GenerationRegistry:
        """Registry of generations. Raises RuntimeError before `start`."""
        if self._registry is None:
            raise RuntimeError("the server was not started")
        return self._registry

    async def start(self) -> None:
        """Starts the stores, listens, starts the engines, then accepts generations.

        Raises ConfigError if the address is unavailable or a model cannot be loaded, StoreUnavailable if a
        store cannot be started.
        """
        settings = self.settings
        await self.billing.start()
        for plugin in (self.sink, self.authenticator, self.budget):
            if plugin is not None:
                await plugin.start()
                self._started.append(plugin)
        self.catalog = Catalog([self._served(model) for model in settings.models], settings.default_model)
        services = Services(
            clock=self.clock,
            encoder=self.encoder,
            buffers=self.buffers,
            billing=self.billing,
            budget=self.budget,
            budget_patience=_patience("budget", settings.limits),
            limits=settings.limits,
            sink=self.sink,
            sink_patience=_patience("event store", settings.limits),
            observers=self.observers,
        )
        self._registry = registry = GenerationRegistry(services, self.catalog, self.admission)
        interceptor = CallInterceptor(self.authenticator, _patience("authenticator", settings.limits))
        handlers = TokenStreamServicer(registry, self.catalog).handlers
        grpc_aio.register(self._server, SERVICE, handlers, interceptor)
        await self.health.register(self._server)
        register_reflection(self._server)
        try:
            self.port = self._server.add_insecure_port(settings.listen)
        except RuntimeError as error:
            raise ConfigError(
                f"listen: {settings.listen} is in use or is not an address of this machine;"
                " choose another one with --listen HOST:PORT"
            ) from error
        await self._server.start()
        await asyncio.gather(*(engine.start() for model in self.catalog.all() for engine in model.engines))
        self._checks.start(self.catalog)
        self.billing.watch(registry.running_usage)
        registry.ready = True
        registry.sweep()
        await self.health.ready()

    async def drain(self, seconds: float) -> None:
        """Rejects new generations, waits up to `seconds` for running ones, then ends those that are left."""
        deadline_ns = self.clock.now_ns() + round(seconds * 1e9)
        await self.health.draining()
        self.registry.begin_drain(self.encoder.drain_notice(deadline_ns))
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.registry.wait_idle()
        await self.registry.stop_all(
            Termination.failed(
                Draining("the server shut down before the generation had finished: try another one")
            )
        )

    async def stop(self) -> None:
        """Closes all parts, even after a failed start. Running generations end with DRAINING."""
        await self.health.draining()
        if self._registry is not None:
            termination = Termination.failed(Draining("the server is shutting down: try another one"))
            await self._registry.stop_all(termination)
        await self._checks.stop()
        await self._server.stop(_STOP_GRACE)
        if self._registry is not None:
            self._registry.close()
        if self.catalog is not None:
            for model in self.catalog.all():
                for engine in model.engines:
                    await engine.close()
        await self.billing.close()
        for plugin in self._started:
            await _patience(type(plugin).__name__, self.settings.limits).quietly(plugin.close)
        self._started.clear()

    def _served(self, settings: ModelSettings) -> ServedModel:
        # The builtin engine uses the packaged vocabulary, so counting with it is exact.
        engines = settings.served_engines
        exact = bool(settings.tokenizer) or all(engine.kind == "builtin" for engine in engines)
        try:
            tokenizer = load_tokenizer(settings.tokenizer or ESTIMATOR, exact=exact)
        except ValueError as error:
            raise ConfigError(f"models.{settings.name}.tokenizer: {error}") from error
        plans = RequestPlans() if settings.allow_request_faults else None
        pool = EnginePool(
            [self._pooled(settings.name, engine, tokenizer, plans) for engine in engines],
            session_load_bound=settings.session_load_bound,
        )
        pool.on_breaker_change = lambda engine, is_open: self.observers.emit(
            BreakerChanged(model=settings.name, engine=engine, open=is_open)
        )
        return ServedModel(
            name=settings.name,
            pool=pool,
            tokenizer=tokenizer,
            context_token_count=settings.context_token_count,
            allowed_engine_params=frozenset(settings.allowed_engine_params)
            | ({PARAM} if plans else frozenset()),
            clocks=ClockLimits(
                first_token=settings.first_token_timeout,
                inter_token=settings.inter_token_timeout,
                total=settings.time_limit,
            ),
        )

    def _pooled(
        self, model: str, settings: EngineSettings, tokenizer: Tokenizer, plans: RequestPlans | None
    ) -> PooledEngine:
        factory = plugins.find("engines", f"models.{model}.kind", settings.kind)
        engine: Engine = factory.load()(settings, tokenizer)
        if plans is not None or not settings.faults.harmless:
            log.warning(
                "faults are injected into this engine: use for tests only", engine=settings.name, model=model
            )
            engine = with_faults(engine, settings.faults, plans, connect_timeout=settings.connect_timeout)
        if isinstance(engine, ReportsLateUsage):
            engine.on_late_usage(self.billing.settle)
        return PooledEngine(
            engine,
            weight=settings.weight,
            priority=settings.priority,
            max_connections=settings.max_connections,
            check_interval=settings.health_check_interval,
        )


def _observers(settings: Settings) -> list[Observer]:
    return [plugins.create("observers", "observers", name, settings) for name in settings.observers]


def _patience(store: str, limits: LimitSettings) -> StorePatience:
    return StorePatience(store=store, call_timeout=limits.store_timeout, retry_time=limits.store_retry_time)
