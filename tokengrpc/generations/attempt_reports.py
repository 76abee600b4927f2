"""Reports of one generation's attempts to the observers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokengrpc.core.ports.engine import upstream_of
from tokengrpc.core.ports.observer import (
    AttemptCause,
    AttemptEnded,
    AttemptStarted,
    EngineSwitched,
    FirstToken,
    RequestParameters,
)
from tokengrpc.core.trace import NO_TRACE, TraceContext

if TYPE_CHECKING:
    from tokengrpc.core.breaker import AttemptOutcome
    from tokengrpc.core.generation import Generation
    from tokengrpc.core.model import Switch
    from tokengrpc.core.pooled_engine import PooledEngine, Slot
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.errors import TokenGrpcError
    from tokengrpc.generations.services import Services
    from tokengrpc.generations.spec import GenerationSpec


@dataclass(slots=True, eq=False)
class RunningAttempt:
    """Call of one engine. `announced` is set once it has output. Times are seconds since the Unix epoch.

    `accepted` and `first_token` are the times from `began` until then.
    """

    slot: Slot
    waited: float
    began: float
    announced: bool = False
    accepted: float | None = None
    first_token: float | None = None
    trace: TraceContext = NO_TRACE

    @property
    def pooled(self) -> PooledEngine:
        """The engine that is called."""
        return self.slot.pooled


class AttemptReports:
    """Tells the observers what happens to the attempts of a generation."""

    def __init__(self, spec: GenerationSpec, generation: Generation, services: Services) -> None:
        self._spec = spec
        self._generation = generation
        self._services = services
        self._parameters = _parameters(spec.request)

    def started(self, attempt: RunningAttempt) -> TraceContext:
        """Reports a call of an engine before it begins. Returns its place in a trace."""
        engine = attempt.pooled.engine
        before = self._generation.attempts.engines
        cause = AttemptCause.FIRST
        if before:
            cause = AttemptCause.RETRY if engine.name in before else AttemptCause.FAILOVER
        attempt.trace = self._services.observers.begin(
            AttemptStarted(
                key=self._spec.key,
                model=self._spec.model.name,
                engine=engine.name,
                cause=cause,
                wait_seconds=attempt.waited,
                upstream=upstream_of(engine, self._spec.model.name),
                parameters=self._parameters,
                trace=self._spec.trace,
            )
        )
        return attempt.trace

    def switched(self, switch: Switch) -> None:
        """Reports that another engine continues the output."""
        self._services.observers.emit(
            EngineSwitched(
                key=self._spec.key, model=self._spec.model.name, switch=switch, trace=self._spec.trace
            )
        )

    def first_token(self, attempt: RunningAttempt, now: float) -> None:
        """Reports the first output of the generation, at `now`."""
        self._services.observers.emit(
            FirstToken(
                key=self._spec.key,
                model=self._spec.model.name,
                engine=attempt.pooled.engine.name,
                seconds=now - self._generation.timestamps.created / 1e9,
            )
        )

    def ended(
        self,
        attempt: RunningAttempt,
        outcome: AttemptOutcome,
        error: TokenGrpcError | None,
        cancel_seconds: float | None,
    ) -> None:
        """Reports the end of a call of an engine, before its counts are kept or given up."""
        generation = self._generation
        finish = generation.engine_finish if error is None else None
        engine = attempt.pooled.engine
        self._services.observers.emit(
            AttemptEnded(
                key=self._spec.key,
                model=self._spec.model.name,
                engine=engine.name,
                outcome=outcome.name,
                error_reason="" if error is None else error.reason,
                wait_seconds=attempt.waited,
                first_token_seconds=attempt.first_token,
                cancel_seconds=cancel_seconds,
                seconds=self._services.seconds() - attempt.began,
                accepted_seconds=attempt.accepted,
                usage=generation.attempt_usage,
                finish_reason=finish.reason if finish is not None else None,
                response_id=generation.attempts.response_id,
                response_model=generation.attempts.response_model,
                upstream=upstream_of(engine, self._spec.model.name),
                operation=self._parameters.operation,
                trace=attempt.trace,
            )
        )


def _parameters(request: GenerationRequest) -> RequestParameters:
    sampling = request.sampling
    return RequestParameters(
        operation=request.operation,
        output_type="text"
        if request.constraint is None or request.constraint.json_schema is None
        else "json",
        max_tokens=request.max_output_token_count,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        seed=sampling.seed,
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        reasoning_effort=request.reasoning.effort,
    )
