"""An engine that fails as planned, for testing how callers recover: any engine, wrapped.

Its output is written as a chat server would write it, spoiled as the plan says, and read again by the code
that reads real servers. So whatever is planned ends as it would with a server that really failed.
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
from tokengrpc.core.ports.engine import ReportsLateUsage
from tokengrpc.engines.simulator.client import Client
from tokengrpc.engines.simulator.script import Script
from tokengrpc.errors import EngineError, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from tokengrpc.core.model import Capability, Delta
    from tokengrpc.core.ports.engine import Continuation, Engine, LateUsage
    from tokengrpc.core.request import GenerationRequest

PARAM = "faults"
"""The key of `engine_params` that holds a request's plan."""

# Plans of requests whose calls are counted; the one that was not used for longest is forgotten.
_REMEMBERED = 1024


class Plays:
    """A plan and its calls: to which of them something happens. Equal plans repeat exactly."""

    def __init__(self, plan: FaultSettings) -> None:
        self.plan = plan
        self._calls = 0
        self._hits = 0

    def draw(self) -> random.Random | None:
        """The next call's chance; None where nothing happens to it."""
        plan = self.plan
        chance = random.Random(f"{plan.seed}:{self._calls}")  # noqa: S311 - must be repeatable
        self._calls += 1
        if (plan.times and self._hits >= plan.times) or chance.random() >= plan.probability:
            return None
        self._hits += 1
        return chance


class AskedPlays:
    """The plans that requests brought, shared by a model's engines so that `times` counts them together."""

    def __init__(self) -> None:
        self._plays: OrderedDict[str, Plays] = OrderedDict()

    def of(self, asked: Any) -> Plays:  # noqa: ANN401 - what a request holds
        """The plays of a request's plan. Raises InvalidRequest for a plan that is none."""
        try:
            plan = convert(asked, FaultSettings, strict=False)
        except Problem as problem:
            path = ".".join(filter(None, ("engine_params", PARAM, problem.path)))
            raise InvalidRequest([(path, problem.what)]) from None
        key = json.dumps(asked, sort_keys=True)
        plays = self._plays.setdefault(key, Plays(plan))
        self._plays.move_to_end(key)
        if len(self._plays) > _REMEMBERED:
            self._plays.popitem(last=False)
        return plays


class FaultyEngine:
    """An engine behind a plan, and behind those of requests where `asked` is given."""

    def __init__(
        self,
        inner: Engine,
        plan: FaultSettings,
        asked: AskedPlays | None = None,
        *,
        connect_timeout: float = 5.0,
    ) -> None:
        """`connect_timeout` is the inner one's own, in seconds."""
        self._inner = inner
        self._plays = None if plan.harmless else Plays(plan)
        self._connect_timeout = connect_timeout
        self._asked = asked
        self._failed = False

    @property
    def name(self) -> str:
        """The inner one's."""
        return self._inner.name

    @property
    def kind(self) -> str:
        """The inner one's."""
        return self._inner.kind

    @property
    def capabilities(self) -> frozenset[Capability]:
        """The inner one's."""
        return self._inner.capabilities

    @property
    def healthy(self) -> bool | None:
        """How the last contact went, faults included."""
        return False if self._failed else self._inner.healthy

    async def start(self) -> None:
        """Starts the inner one."""
        await self._inner.start()

    async def close(self) -> None:
        """Closes the inner one."""
        await self._inner.close()

    def on_late_usage(self, report: LateUsage) -> None:
        """Passes it on to the inner one, if that reports late usage."""
        if isinstance(self._inner, ReportsLateUsage):
            self._inner.on_late_usage(report)

    def forgo_late_usage(self, record_id: str) -> None:
        """Passes it on to the inner one, if that reports late usage."""
        if isinstance(self._inner, ReportsLateUsage):
            self._inner.forgo_late_usage(record_id)

    def generate(
        self, request: GenerationRequest, continue_from: Continuation | None = None
    ) -> AsyncGenerator[Sequence[Delta], None]:
        """Runs a request as `Engine` says: as the inner one does where no plan is."""
        if self._plays is None and PARAM not in request.engine_params:
            return self._inner.generate(request, continue_from)
        return self._generate(request, continue_from)

    async def _generate(
        self, request: GenerationRequest, continue_from: Continuation | None
    ) -> AsyncGenerator[Sequence[Delta], None]:
        plays = self._plays
        if self._asked is not None and PARAM in request.engine_params:
            plays = self._asked.of(request.engine_params[PARAM])
            params = {key: value for key, value in request.engine_params.items() if key != PARAM}
            request = replace(request, engine_params=params)
        chance = plays.draw() if plays is not None else None
        if plays is None or chance is None:
            self._failed = False
            batches = self._inner.generate(request, continue_from)
        else:
            script = Script(plays.plan, chance, lambda: self._inner.generate(request, continue_from))
            batches = self._read(script, request)
        async with aclosing(batches):
            async for batch in batches:
                yield batch

    async def _read(
        self, script: Script, request: GenerationRequest
    ) -> AsyncGenerator[Sequence[Delta], None]:
        """What is left of the output when it has been written, spoiled and read."""
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
