"""A wrapper that makes any engine fail as planned, for testing how callers recover.

The engine's output is written as a chat server would write it, corrupted according to the plan, and read by
the code that reads real servers. So a planned fault has the same outcome as the fault of a real server.
"""

from __future__ import annotations

import json
import random
from collections import OrderedDict
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tokengrpc.config.faults import FaultSettings
from tokengrpc.config.messages import Problem, convert
from tokengrpc.core.ports.engine import (
    Checkable,
    DescribesUpstream,
    ReportsLateUsage,
    RereadsSecrets,
    id_space,
)
from tokengrpc.engines.simulator.client import Client
from tokengrpc.engines.simulator.script import Script
from tokengrpc.errors import EngineError, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from tokengrpc.core.model import Capability, Delta
    from tokengrpc.core.ports.engine import Continuation, Engine, LateUsage, Upstream
    from tokengrpc.core.request import GenerationRequest

PARAM = "faults"
"""The key of `engine_params` that holds a request's plan."""

# The number of requests' plans whose calls are counted. Beyond it, the least recently used one is discarded.
_MAX_PLANS = 1024


class CountedPlan:
    """A plan with the count of its calls. Equal plans select the same calls."""

    def __init__(self, plan: FaultSettings) -> None:
        self.plan = plan
        self._calls = 0
        self._affected = 0

    def next_call(self) -> random.Random | None:
        """Counts a call. Returns its source of randomness, or None if the plan does not affect the call."""
        plan = self.plan
        rng = random.Random(f"{plan.seed}:{self._calls}")  # noqa: S311 - must be repeatable
        self._calls += 1
        if (plan.times and self._affected >= plan.times) or rng.random() >= plan.probability:
            return None
        self._affected += 1
        return rng


class RequestPlans:
    """The plans of requests, shared by a model's engines so that `times` counts the calls of all engines."""

    def __init__(self) -> None:
        self._plans: OrderedDict[str, CountedPlan] = OrderedDict()

    def counted(self, param: Any) -> CountedPlan:  # noqa: ANN401 - a request may hold any JSON value
        """Returns the plan of a request's parameter. Raises InvalidRequest for an invalid plan."""
        try:
            plan = convert(param, FaultSettings, strict=False)
        except Problem as problem:
            path = ".".join(filter(None, ("engine_params", PARAM, problem.path)))
            raise InvalidRequest([(path, problem.message)]) from None
        key = json.dumps(param, sort_keys=True)
        counted = self._plans.setdefault(key, CountedPlan(plan))
        self._plans.move_to_end(key)
        if len(self._plans) > _MAX_PLANS:
            self._plans.popitem(last=False)
        return counted


class FaultyEngine:
    """A wrapped engine that fails according to its own plan, or to requests' plans if those are allowed."""

    def __init__(
        self,
        inner: Engine,
        plan: FaultSettings,
        request_plans: RequestPlans | None = None,
        *,
        connect_timeout: float = 5.0,
    ) -> None:
        """`request_plans` is None if requests may have no plans. `connect_timeout` is in seconds."""
        self._inner = inner
        self._plan = None if plan.harmless else CountedPlan(plan)
        self._connect_timeout = connect_timeout
        self._request_plans = request_plans
        self._failed = False

    @property
    def name(self) -> str:
        """The wrapped engine's name."""
        return self._inner.name

    @property
    def kind(self) -> str:
        """The wrapped engine's kind."""
        return self._inner.kind

    @property
    def id_space(self) -> str:
        """What the wrapped engine's token ids mean."""
        return id_space(self._inner)

    @property
    def upstream(self) -> Upstream | None:
        """What stands behind the wrapped engine."""
        return self._inner.upstream if isinstance(self._inner, DescribesUpstream) else None

    @property
    def capabilities(self) -> frozenset[Capability]:
        """The wrapped engine's capabilities."""
        return self._inner.capabilities

    @property
    def healthy(self) -> bool | None:
        """The wrapped engine's health; False after a planned fault."""
        return False if self._failed else self._inner.healthy

    async def start(self) -> None:
        """Starts the wrapped engine."""
        await self._inner.start()

    async def close(self) -> None:
        """Closes the wrapped engine."""
        await self._inner.close()

    def on_late_usage(self, report: LateUsage) -> None:
        """Calls the wrapped engine's method, if it has one."""
        if isinstance(self._inner, ReportsLateUsage):
            self._inner.on_late_usage(report)

    def reread_secrets(self) -> None:
        """See `RereadsSecrets`."""
        if isinstance(self._inner, RereadsSecrets):
            self._inner.reread_secrets()

    def forgo_late_usage(self, record_id: str) -> None:
        """Calls the wrapped engine's method, if it has one."""
        if isinstance(self._inner, ReportsLateUsage):
            self._inner.forgo_late_usage(record_id)

    def generate(
        self, request: GenerationRequest, continue_from: Continuation | None = None
    ) -> AsyncGenerator[Sequence[Delta], None]:
        """Runs a request; see `Engine.generate`. Without a plan, returns the wrapped engine's generator."""
        if self._plan is None and PARAM not in request.engine_params:
            return self._inner.generate(request, continue_from)
        return self._generate(request, continue_from)

    async def _generate(
        self, request: GenerationRequest, continue_from: Continuation | None
    ) -> AsyncGenerator[Sequence[Delta], None]:
        plan = self._plan
        if self._request_plans is not None and PARAM in request.engine_params:
            plan = self._request_plans.counted(request.engine_params[PARAM])
            params = {key: value for key, value in request.engine_params.items() if key != PARAM}
            request = replace(request, engine_params=params)
        rng = plan.next_call() if plan is not None else None
        if plan is None or rng is None:
            self._failed = False
            batches = self._inner.generate(request, continue_from)
        else:
            script = Script(plan.plan, rng, lambda: self._inner.generate(request, continue_from))
            batches = self._read(script, request)
        async with aclosing(batches):
            async for batch in batches:
                yield batch

    async def _read(
        self, script: Script, request: GenerationRequest
    ) -> AsyncGenerator[Sequence[Delta], None]:
        """Yields the output as it is read after the script has written and corrupted it."""
        client = Client(self.name, script, connect_timeout=self._connect_timeout)
        await client.start()
        try:
            async with aclosing(client.generate(request)) as batches:
                async for batch in batches:
                    yield batch
            self._failed = False
        except EngineError:
            if script.error is not None:
                raise script.error from None
            self._failed = True
            raise
        finally:
            await client.close()


class CheckableFaultyEngine(FaultyEngine):
    """A wrapped engine that supports health checks, which plans do not affect."""

    async def check(self) -> bool | None:
        """Checks the wrapped engine; see `Checkable`."""
        return await self._inner.check() if isinstance(self._inner, Checkable) else False


def with_faults(
    inner: Engine,
    plan: FaultSettings,
    request_plans: RequestPlans | None = None,
    *,
    connect_timeout: float = 5.0,
) -> FaultyEngine:
    """Wraps an engine. The result supports health checks if the engine does."""
    kind = CheckableFaultyEngine if isinstance(inner, Checkable) else FaultyEngine
    return kind(inner, plan, request_plans, connect_timeout=connect_timeout)
