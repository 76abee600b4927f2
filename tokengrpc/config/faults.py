"""The plan of a simulated engine's faults, as set in a file, by flag or variable, or in a request."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, structs

from tokengrpc.config.values import ConfigError, CountOrNone, SecondsOrNone

Tokens = Annotated[int, Meta(ge=0, le=1_000_000_000)] | None


class FaultSettings(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A plan of faults. A plan without a fault changes nothing."""

    connect_delay: Annotated[SecondsOrNone, Meta(description="delay of the connection, in seconds")] = 0.0
    accept_delay: Annotated[
        SecondsOrNone, Meta(description="silence before the response's headers, in seconds")
    ] = 0.0
    first_token_delay: Annotated[
        SecondsOrNone, Meta(description="silence before the first token, in seconds")
    ] = 0.0
    pace: Annotated[
        float, Meta(ge=0, le=1_000_000, description="maximum tokens per second; 0: the engine's own pace")
    ] = 0.0
    jitter: Annotated[SecondsOrNone, Meta(description="maximum random delay of each token, in seconds")] = 0.0
    stall_at_token: Annotated[Tokens, Meta(description="silence after this many tokens")] = None
    stall_time: Annotated[
        SecondsOrNone, Meta(description="duration of that silence, in seconds; 0: endless")
    ] = 0.0
    keep_alive: Annotated[
        SecondsOrNone, Meta(description="interval of comments in silences, in seconds; 0: no comments")
    ] = 0.0
    refuse: Annotated[bool, Meta(description="the connection is refused")] = False
    status: Annotated[
        int, Meta(ge=0, le=599, description="HTTP status of a refusal, 300 to 599; 0: no refusal")
    ] = 0
    retry_after: Annotated[
        SecondsOrNone, Meta(description="Retry-After of that refusal, in whole seconds; 0: no header")
    ] = 0.0
    cut_at_token: Annotated[Tokens, Meta(description="the connection breaks after this many tokens")] = None
    cut_at_byte: Annotated[
        Tokens, Meta(description="the connection breaks after this many bytes of the body")
    ] = None
    end_at_token: Annotated[
        Tokens, Meta(description="the body ends regularly after this many tokens, without the end mark")
    ] = None
    abort_at_token: Annotated[
        Tokens, Meta(description="the finish reason `abort`, then `[DONE]`, after this many tokens")
    ] = None
    error_at_token: Annotated[Tokens, Meta(description="an error object after this many tokens")] = None
    malformed_at_token: Annotated[Tokens, Meta(description="malformed JSON after this many tokens")] = None
    invalid_utf8_at_token: Annotated[Tokens, Meta(description="invalid UTF-8 after this many tokens")] = None
    huge_line_at_token: Annotated[
        Tokens, Meta(description="a line over `max_event_bytes` after this many tokens")
    ] = None
    trickle: Annotated[bool, Meta(description="the body is sent byte by byte")] = False
    split_characters: Annotated[
        bool, Meta(description="characters are split across network chunks and across tokens")
    ] = False
    unknown_fields: Annotated[
        bool, Meta(description="unknown fields and events are sent among the known ones")
    ] = False
    finish_reason: Annotated[
        str, Meta(max_length=64, description="replaces the engine's finish reason; empty: unchanged")
    ] = ""
    usage: Annotated[
        Literal["told", "none", "twice"], Meta(description="how often the final usage is reported")
    ] = "told"
    probability: Annotated[float, Meta(ge=0, le=1, description="fraction of calls that are affected")] = 1.0
    seed: Annotated[
        int, Meta(ge=0, le=2**53, description="seed of the random choices: equal seeds affect the same calls")
    ] = 0
    times: Annotated[CountOrNone, Meta(description="number of calls that are affected; 0: no limit")] = 0
    name: Annotated[
        str, Meta(max_length=128, description="request plans with different names count calls separately")
    ] = ""

    def __post_init__(self) -> None:
        """Checks that at most one fault ends the output, and that dependent keys have the key they need."""
        ends = [name for name in ENDS if getattr(self, name) != DEFAULTS[name]]
        if len(ends) > 1:
            raise ConfigError(
                f"{ends[1]}: cannot be combined with {ends[0]}; only one fault can end the output"
            )
        if 0 < self.status < 300:
            raise ConfigError("status: must be 0 or from 300 to 599")
        if self.retry_after and not self.status:
            raise ConfigError("retry_after: requires status")
        if self.stall_time and self.stall_at_token is None:
            raise ConfigError("stall_time: requires stall_at_token")

    @property
    def harmless(self) -> bool:
        """Whether the plan has no fault."""
        return not any(
            getattr(self, name) != default for name, default in DEFAULTS.items() if name not in _CONDITIONS
        )


ENDS = (
    "refuse",
    "status",
    "cut_at_token",
    "cut_at_byte",
    "end_at_token",
    "abort_at_token",
    "error_at_token",
    "malformed_at_token",
    "invalid_utf8_at_token",
    "huge_line_at_token",
)
"""Faults that end an output: a plan has at most one."""

_CONDITIONS = frozenset({"probability", "seed", "times", "name", "keep_alive"})
DEFAULTS = {field.name: field.default for field in structs.fields(FaultSettings)}
