"""Settings of a model. Durations are in seconds."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, structs

from tokengrpc.config.engine import EngineSettings
from tokengrpc.config.values import FLAG, ConfigError, CountOrNone, Name, SecondsOrNone, check_different


class ModelFields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a model, without its engines."""

    name: Annotated[Name, Meta(description="name of the model in requests", extra=FLAG)]
    context_token_count: Annotated[
        CountOrNone,
        Meta(description="maximum tokens of input and output together; 0: unknown", extra=FLAG),
    ] = 0
    tokenizer: Annotated[
        str, Meta(description="the model's own tokenizer; empty: estimate with o200k_base", extra=FLAG)
    ] = ""
    allowed_engine_params: Annotated[
        tuple[str, ...], Meta(description="engine parameters that requests may set")
    ] = ()
    first_token_timeout: Annotated[
        SecondsOrNone,
        Meta(description="timeout for the first token, in seconds; 0: the server's", extra=FLAG),
    ] = 0.0
    inter_token_timeout: Annotated[
        SecondsOrNone,
        Meta(description="timeout between tokens, in seconds; 0: the server's", extra=FLAG),
    ] = 0.0
    time_limit: Annotated[
        SecondsOrNone,
        Meta(description="maximum duration of a generation, in seconds; 0: the server's", extra=FLAG),
    ] = 0.0
    max_queue_length: Annotated[
        CountOrNone,
        Meta(description="maximum requests that wait for an engine of the model; 0: the server's limit"),
    ] = 0
    max_queue_time: Annotated[
        SecondsOrNone,
        Meta(description="how long a request may wait for an engine, in seconds; 0: the server's limit"),
    ] = 0.0
    session_load_bound: Annotated[
        CountOrNone,
        Meta(
            description="outstanding tokens by which a session's engine may exceed the least loaded one; "
            "0: sessions are ignored"
        ),
    ] = 8192
    allow_request_faults: Annotated[
        bool,
        Meta(description="whether requests may inject faults: see docs/simulator.md", extra=FLAG),
    ] = False


class ModelSettings(ModelFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a model and its engines. In a file, the model's table may contain those of one engine."""

    engines: Annotated[
        tuple[EngineSettings, ...],
        Meta(
            min_length=1,
            description="engines of the model, if several; each is a [[models.engines]] table",
        ),
    ]

    def __post_init__(self) -> None:
        """Checks that engines have different names, and that faults have their own switch."""
        if "faults" in self.allowed_engine_params:
            raise ConfigError(
                "allowed_engine_params: must not contain faults; set allow_request_faults instead"
            )
        check_different("engines", [engine.name for engine in self.served_engines])

    @property
    def served_engines(self) -> tuple[EngineSettings, ...]:
        """Engines, with unset names, upstream models and context lengths filled in from the model."""
        return tuple(self._filled(engine) for engine in self.engines)

    @property
    def is_single(self) -> bool:
        """Whether the model has a single engine, whose settings are in the model's table."""
        return len(self.engines) == 1 and not (self.engines[0].name or self.engines[0].context_token_count)

    def _filled(self, engine: EngineSettings) -> EngineSettings:
        return structs.replace(
            engine,
            name=engine.name or self.name,
            upstream_model=engine.upstream_model or self.name,
            context_token_count=engine.context_token_count or self.context_token_count,
        )
