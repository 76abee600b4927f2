"""Creates the models that are served, from settings: with tokenizer, engines, and faults to inject."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

import structlog

from tokengrpc import plugins
from tokengrpc.config import ConfigError
from tokengrpc.core.catalog import ClockLimits, ServedModel
from tokengrpc.core.engine_key import CallerKeys
from tokengrpc.core.pooled_engine import EngineFailure, PooledEngine
from tokengrpc.core.ports.engine import ReportsLateUsage
from tokengrpc.core.ports.observer import BreakerChanged
from tokengrpc.core.routing import EnginePool
from tokengrpc.core.wait_queue import WaitingTotal, WaitQueue
from tokengrpc.engines.simulator.engine import PARAM, RequestPlans, with_faults
from tokengrpc.generations.timers import shortest
from tokengrpc.tokenizers.tiktoken import load as load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokengrpc.config import EngineSettings, LimitSettings, ModelSettings
    from tokengrpc.core.ports.engine import Engine, LateUsage, Tokenizer
    from tokengrpc.generations.observers import Observers

ESTIMATOR = "o200k_base"
"""Tokenizer of models that name none: its counts are estimates."""

log = structlog.get_logger(__name__)


class ModelFactory:
    """Creates models. `engines`, by name, replace those that the settings describe."""

    def __init__(
        self,
        limits: LimitSettings,
        engines: Mapping[str, Engine],
        observers: Observers,
        on_late_usage: LateUsage,
    ) -> None:
        """`on_late_usage` is called with usage that an engine reports after the end."""
        self._limits = limits
        self._engines = engines
        self._observers = observers
        self._on_late_usage = on_late_usage
        self._waiting = WaitingTotal(limits.max_queue_length)

    def create(self, settings: ModelSettings) -> ServedModel:
        """Creates a model. Raises ConfigError if its tokenizer or an engine cannot be created."""
        # The builtin engine uses the packaged vocabulary, so counting with it is exact.
        engines = settings.served_engines
        exact = bool(settings.tokenizer) or all(engine.kind == "builtin" for engine in engines)
        try:
            tokenizer = load_tokenizer(settings.tokenizer or ESTIMATOR, exact=exact)
        except ValueError as error:
            raise ConfigError(f"models.{settings.name}.tokenizer: {error}") from error
        plans = RequestPlans() if settings.allow_request_faults else None
        pool = EnginePool(
            [self._pooled(settings, engine, tokenizer, plans) for engine in engines],
            session_load_bound=settings.session_load_bound,
            wait_queue=WaitQueue(max_length=settings.max_queue_length, total=self._waiting),
        )
        pool.on_breaker_change = partial(self._breaker_changed, settings.name)
        return ServedModel(
            name=settings.name,
            pool=pool,
            tokenizer=tokenizer,
            context_token_count=settings.context_token_count,
            allowed_engine_params=frozenset(settings.allowed_engine_params)
            | ({PARAM} if plans else frozenset()),
            max_queue_time=settings.max_queue_time,
            clocks=ClockLimits(
                first_token=settings.first_token_timeout,
                inter_token=settings.inter_token_timeout,
                total=settings.time_limit,
            ),
        )

    def _breaker_changed(self, model: str, pooled: PooledEngine, is_open: bool) -> None:
        failure = pooled.last_failure if is_open else EngineFailure()
        self._observers.emit(
            BreakerChanged(
                model=model,
                engine=pooled.engine.name,
                open=is_open,
                reason=failure.reason,
                failure=failure.text,
            )
        )

    def _pooled(
        self, model: ModelSettings, settings: EngineSettings, tokenizer: Tokenizer, plans: RequestPlans | None
    ) -> PooledEngine:
        engine = self._engines.get(settings.name)
        if engine is None:
            factory = plugins.find("engines", f"models.{model.name}.kind", settings.kind)
            engine = cast("Engine", factory.load()(settings, tokenizer))
        if plans is not None or not settings.faults.harmless:
            log.warning(
                "faults are injected into this engine: use for tests only",
                engine=settings.name,
                model=model.name,
            )
            engine = with_faults(engine, settings.faults, plans, connect_timeout=settings.connect_timeout)
        if isinstance(engine, ReportsLateUsage):
            engine.on_late_usage(self._on_late_usage)
        return PooledEngine(
            engine,
            weight=settings.weight,
            priority=settings.priority,
            max_connections=settings.max_connections,
            check_interval=settings.health_check_interval,
            gets_trace=getattr(settings, "trace_headers", False),
            caller_keys=getattr(settings, "caller_key_mode", CallerKeys.NEVER),
            silence_limit=shortest(None, model.first_token_timeout, self._limits.first_token_timeout),
        )
