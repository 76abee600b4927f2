"""What can be set of a simulated engine's faults: in a file, by flag or variable, or in a request."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, structs

from tokengrpc.config.values import ConfigError, CountOrNone, SecondsOrNone

Tokens = Annotated[int, Meta(ge=0, le=1_000_000_000)] | None


class FaultSettings(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A plan of faults. With no fault in it, nothing is changed."""

    connect_delay: Annotated[SecondsOrNone, Meta(description="the connection is made so late, s")] = 0.0
    accept_delay: Annotated[SecondsOrNone, Meta(description="silence before the response's headers, s")] = 0.0
    first_token_delay: Annotated[SecondsOrNone, Meta(description="silence before the first token, s")] = 0.0
    pace: Annotated[
        float, Meta(ge=0, le=1_000_000, description="tokens per second, at most; 0: the engine's own")
    ] = 0.0
    jitter: Annotated[
        SecondsOrNone, Meta(description="each token comes up to so much later, by chance, s")
    ] = 0.0
    stall_at_token: Annotated[Tokens, Meta(description="silence once so many tokens have come")] = None
    stall_time: Annotated[SecondsOrNone, Meta(description="how long that silence lasts, s; 0: for ever")] = (
        0.0
    )
    keep_alive: Annotated[
        SecondsOrNone, Meta(description="in every silence a comment is sent every so often, s; 0: none")
    ] = 0.0
    refuse: Annotated[bool, Meta(description="the connection is refused")] = False
    status: Annotated[
        int, Meta(ge=0, le=599, description="the HTTP status of a refusal, from 300; 0: none")
    ] = 0
    retry_after: Annotated[
        SecondsOrNone, Meta(description="that refusal's Retry-After, whole seconds; 0: none")
    ] = 0.0
    cut_at_token: Annotated[Tokens, Meta(description="the connection breaks after so many tokens")] = None
    cut_at_byte: Annotated[
        Tokens, Meta(description="the connection breaks after so many bytes of the body")
    ] = None
    end_at_token: Annotated[
        Tokens, Meta(description="the body ends properly after so many tokens, without an end mark")
    ] = None
    abort_at_token: Annotated[
        Tokens, Meta(description="the finish reason abort, then [DONE], after so many tokens")
    ] = None
    error_at_token: Annotated[
        Tokens, Meta(description="an error object in the stream after so many tokens")
    ] = None
    malformed_at_token: Annotated[
        Tokens, Meta(description="an event that is no JSON after so many tokens")
    ] = None
    invalid_utf8_at_token: Annotated[
        Tokens, Meta(description="a text that is no UTF-8 after so many tokens")
    ] = None
    huge_line_at_token: Annotated[
        Tokens, Meta(description="a line that is too long to be read after so many tokens")
    ] = None
    trickle: Annotated[bool, Meta(description="one byte at a time")] = False
    split_characters: Annotated[
        bool, Meta(description="characters are cut in two, over chunks of the network and over tokens")
    ] = False
    unknown_fields: Annotated[
        bool, Meta(description="fields and events of the future between the known ones")
    ] = False
    finish_reason: Annotated[
        str, Meta(max_length=64, description="the engine's finish reason; empty: the true one")
    ] = ""
    usage: Annotated[
        Literal["told", "none", "twice"], Meta(description="how often the final usage is told")
    ] = "told"
    probability: Annotated[float, Meta(ge=0, le=1, description="the share of calls that it happens to")] = 1.0
    seed: Annotated[
        int, Meta(ge=0, le=2**53, description="what chance begins with: the same seed, the same calls")
    ] = 0
    times: Annotated[CountOrNone, Meta(description="after so many calls all is well; 0: never")] = 0
    name: Annotated[
        str, Meta(max_length=128, description="plans of requests with another name count their own calls")
    ] = ""

    def __post_init__(self) -> None:
        """Checks that at most one fault ends the output, and what goes with what."""
        ends = [name for name in ENDS if getattr(self, name) != DEFAULTS[name]]
        if len(ends) > 1:
            raise ConfigError(f"{ends[1]}: not together with {ends[0]}; one of them ends the output")
        if 0 < self.status < 300:
            raise ConfigError("status: must be 0 or from 300 to 599")
        if self.retry_after and not self.status:
            raise ConfigError("retry_after: goes with status only")
        if self.stall_time and self.stall_at_token is None:
            raise ConfigError("stall_time: goes with stall_at_token only")

    @property
    def harmless(self) -> bool:
        """Whether there is no fault in it."""
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
