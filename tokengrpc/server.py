"""The composition root: the only place that names concrete engines, stores and servers."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from contextlib import suppress
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import grpc
import structlog

from tokengrpc.config import ConfigError, EngineSettings, ModelSettings, Settings
from tokengrpc.core.admission import Admission
from tokengrpc.core.catalog import Catalog, ClockLimits, ServedModel
from tokengrpc.core.clock import SystemClock
from tokengrpc.core.ports.engine import TellsLateUsage
from tokengrpc.core.routing import EnginePool, PooledEngine
from tokengrpc.core.tenant import Tenant
from tokengrpc.core.termination import Termination
from tokengrpc.engines.simulator.engine import PARAM, AskedPlays, FaultyEngine
from tokengrpc.errors import Draining
from tokengrpc.generations.buffer import MemoryEventLogs
from tokengrpc.generations.health_checks import HealthChecks
from tokengrpc.generations.registry import GenerationRegistry
from tokengrpc.generations.services import Services
from tokengrpc.rpc.auth import Authenticator
from tokengrpc.rpc.call import CallInterceptor
from tokengrpc.rpc.lifecycle import Health, register_reflection
from tokengrpc.rpc.options import server_options
from tokengrpc.rpc.servicer import TokenStreamServicer
from tokengrpc.stores.memory import MemoryLedger
from tokengrpc.telemetry.logs import GenerationLog, configure_logs
from tokengrpc.tokenizers.tiktoken import load as load_tokenizer
from tokengrpc.wire.encoding import ProtobufEncoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.core.ports.engine import Engine, Tokenizer
    from tokengrpc.core.ports.ledger import UsageLedger
    from tokengrpc.core.ports.observer import Observer

ENGINE_GROUP = "tokengrpc.engines"
ESTIMATOR = "o200k_base"
_STOP_GRACE = 0.5
"""Seconds for what is left when all generations have ended: open health watches, statuses on their way."""
_FULL_COLLECTION_OBJECTS = 1_000_000
"""So many objects more than there were make the next full garbage collection."""

log = structlog.get_logger(__name__)


class App:
    """A server and everything behind it. `start`, then `drain` and `stop`; all in one event loop."""

    def __init__(
        self, settings: Settings, *, ledger: UsageLedger | None = None, observers: tuple[Observer, ...] = ()
    ) -> None:
        limits = settings.limits
        self.settings = settings
        self.clock = SystemClock()
        self.ledger: UsageLedger = ledger or MemoryLedger()
        self.logs = MemoryEventLogs(log_bytes=limits.generation_log_bytes, total_bytes=limits.total_log_bytes)
        self.health = Health()
        self.admission = Admission(limits.max_generations)
        self.encoder = ProtobufEncoder()
        self.catalog: Catalog | None = None
        self._registry: GenerationRegistry | None = None
        self._observers = observers
        self._checks = HealthChecks(self.clock)
        self._server = grpc.aio.server(options=server_options(limits))
        self.port = 0

    @property
    def registry(self) -> GenerationRegistry:
        """The generations of a server that was started."""
        if self._registry is None:
            raise RuntimeError("the server was not started")
        return self._registry

    async def start(self) -> None:
        """Listens, loads the models, then takes calls.

        Raises ConfigError when the address or a model cannot be had.
        """
        settings = self.settings
        self.catalog = Catalog(
            [_served(model, self.ledger) for model in settings.models], settings.default_model
        )
        services = Services(
            clock=self.clock,
            encoder=self.encoder,
            ledger=self.ledger,
            logs=self.logs,
            limits=settings.limits,
            observers=self._observers,
        )
        self._registry = GenerationRegistry(services, self.catalog, self.admission)
        interceptor = CallInterceptor(Authenticator(_tenants(settings)))
        TokenStreamServicer(self.registry, self.catalog).register(self._server, interceptor)
        await self.health.register(self._server)
        register_reflection(self._server)
        try:
            self.port = self._server.add_insecure_port(settings.listen)
        except RuntimeError as error:
            raise ConfigError(
                f"listen: {settings.listen} is in use or no address of this machine;"
                " choose another one with --listen HOST:PORT"
            ) from error
        await self._server.start()
        await asyncio.gather(*(engine.start() for model in self.catalog.all() for engine in model.engines))
        self._checks.start(self.catalog)
        self.registry.ready = True
        self.registry.sweep()
        await self.health.ready()

    async def drain(self, seconds: float) -> None:
        """Takes no new generations, lets those under way finish for a while, then ends them."""
        deadline_ns = self.clock.now_ns() + round(seconds * 1e9)
        await self.health.draining()
        self.registry.begin_drain(self.encoder.drain_notice(deadline_ns))
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.registry.wait_idle()
        await self.registry.stop_all(
            Termination.failed(
                Draining("the server shut down before the generation had ended: try another one")
            )
        )

    async def stop(self) -> None:
        """Closes everything, however far the start came; what still runs ends with DRAINING."""
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


def _served(settings: ModelSettings, ledger: UsageLedger) -> ServedModel:
    # The builtin engine's vocabulary is the packaged one, so that counting with it is exact.
    engines = settings.served_engines
    exact = bool(settings.tokenizer) or all(engine.kind == "builtin" for engine in engines)
    try:
        tokenizer = load_tokenizer(settings.tokenizer or ESTIMATOR, exact=exact)
    except ValueError as error:
        raise ConfigError(f"models.{settings.name}.tokenizer: {error}") from error
    asked = AskedPlays() if settings.allow_request_faults else None
    return ServedModel(
        name=settings.name,
        pool=EnginePool(
            [_pooled_engine(settings.name, engine, tokenizer, ledger, asked) for engine in engines]
        ),
        tokenizer=tokenizer,
        context_token_count=settings.context_token_count,
        allowed_engine_params=frozenset(settings.allowed_engine_params) | ({PARAM} if asked else frozenset()),
        clocks=ClockLimits(
            first_token=settings.first_token_timeout,
            inter_token=settings.inter_token_timeout,
            total=settings.time_limit,
        ),
    )


def _pooled_engine(
    model: str, settings: EngineSettings, tokenizer: Tokenizer, ledger: UsageLedger, asked: AskedPlays | None
) -> PooledEngine:
    (factory,) = entry_points(group=ENGINE_GROUP, name=settings.kind)
    engine: Engine = factory.load()(settings, tokenizer)
    if isinstance(engine, TellsLateUsage):
        engine.on_late_usage(ledger.settle)
    if asked is not None or not settings.faults.harmless:
        log.warning("this engine may fail on purpose: for tests only", engine=settings.name, model=model)
        engine = FaultyEngine(engine, settings.faults, asked, connect_timeout=settings.connect_timeout)
    return PooledEngine(
        engine,
        weight=settings.weight,
        priority=settings.priority,
        max_connections=settings.max_connections,
        check_interval=settings.health_check_interval,
    )


def _tenants(settings: Settings) -> list[tuple[Tenant, str]]:
    tenants = [
        (
            Tenant(
                name=tenant.name,
                models=frozenset(tenant.models),
                admin=tenant.admin,
                max_generations=tenant.max_generations,
            ),
            tenant.read_key(),
        )
        for tenant in settings.tenants
    ]
    owners: dict[str, str] = {}
    for tenant, key in tenants:
        if owners.setdefault(key, tenant.name) != tenant.name:
            raise ConfigError(f"tenants: {owners[key]} and {tenant.name} have the same key; give each one")
    return tenants


def _pause_less() -> None:
    """Makes full garbage collections rare: each stops every stream, for a microsecond an object.

    What is there at start stays, and is never looked at again. Of what came later, most of it generations
    kept for replay, Python would look at all whenever it has grown by a quarter. Young garbage goes as
    before, and nearly everything goes without a collection.
    """
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, _FULL_COLLECTION_OBJECTS // (young * middle))


async def serve(settings: Settings, on_ready: Callable[[str], None] | None = None) -> None:
    """Serves until SIGTERM or SIGINT, then drains; a second signal ends at once."""
    app = App(settings, observers=(GenerationLog(),))
    signals: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number.name)
    try:
        await app.start()
        _pause_less()
        host = settings.listen.rpartition(":")[0]
        address = f"{host}:{app.port}"
        print(f"listening on {address}", flush=True)
        if on_ready is not None:
            on_ready(address)
        name = await signals.get()
        log.info(
            "draining: streams in flight may finish; another signal ends them now",
            signal=name,
            generations=app.registry.active,
            seconds=settings.limits.drain_time,
        )
        drain = asyncio.ensure_future(app.drain(settings.limits.drain_time))
        again = asyncio.ensure_future(signals.get())
        await asyncio.wait({drain, again}, return_when=asyncio.FIRST_COMPLETED)
        for task in (drain, again):
            task.cancel()
    finally:
        await app.stop()


def run(settings: Settings, on_ready: Callable[[str], None] | None = None) -> int:
    """Serves in a new event loop. Returns the exit code. Raises ConfigError."""
    configure_logs(settings.log_level, settings.log_format)
    if sys.platform == "win32":
        asyncio.run(serve(settings, on_ready))
        return 0
    import uvloop  # noqa: PLC0415 - not there on every platform

    uvloop.run(serve(settings, on_ready))
    return 0
