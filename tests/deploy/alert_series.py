"""Series of a server, to test alerts with.

Values are in promtool's notation: `1+2x3` is 1, 3, 5, 7, one value a minute.
"""

from __future__ import annotations

from dataclasses import dataclass, field

Series = dict[str, str]

SERVER = {"job": "tokengrpc", "instance": "a:9090"}
MODEL = {"job": "tokengrpc", "model": "m"}
ENGINE = {**MODEL, "engine": "e"}
HERE = 'job="tokengrpc",instance="a:9090"'
STREAM = f'{HERE},grpc_method="tokenstreaming.v1.TokenStream/StreamTokens"'


@dataclass(frozen=True, kw_only=True)
class Case:
    """Series, and what an alert says of them after `minutes`. It does not fire with the `quiet` ones."""

    alert: str
    severity: str
    fires: Series
    quiet: Series
    minutes: int = 20
    step: int = 1
    """Minutes between two values."""
    labels: dict[str, str] = field(default_factory=dict)
    id: str = ""


def one(name: str, values: str, labels: str = "") -> Series:
    """Returns one series of a server."""
    return {f"{name}{{{HERE}{labels and ','}{labels}}}": values}


def ended(succeeded: str, failed: str, reason: str = "ENGINE_LOST") -> Series:
    """Returns the ends of the generations of a model."""
    labels = 'model="m",tenant="t"'
    return one("tokengrpc_request_success_total", succeeded, f'{labels},finished_reason="END"') | one(
        "tokengrpc_request_failure_total", failed, f'{labels},reason="{reason}"'
    )


def buckets(name: str, labels: str, within: str, beyond: str, *, bound: str) -> Series:
    """Returns a histogram with values within a bound, and others up to twice as high."""
    return (
        one(f"{name}_bucket", within, f'{labels},le="{bound}"')
        | one(f"{name}_bucket", beyond, f'{labels},le="{2 * float(bound):g}"')
        | one(f"{name}_bucket", beyond, f'{labels},le="+Inf"')
    )


def attempts(succeeded: str, failed: str) -> Series:
    """Returns the attempts of an engine."""
    labels = 'model="m",engine="e"'
    return one("tokengrpc_engine_attempts_total", succeeded, f'{labels},outcome="success"') | one(
        "tokengrpc_engine_attempts_total", failed, f'{labels},outcome="failure"'
    )


def breaker(closed: str) -> Series:
    """Returns whether the breaker of an engine is closed."""
    return one("tokengrpc_breaker_state", closed, 'model="m",engine="e",state="closed"')
