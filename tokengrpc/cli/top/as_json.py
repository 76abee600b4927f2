"""A report as JSON, for scripts. docs/top.md has the same shape."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tokengrpc.cli.top.servers import series
from tokengrpc.cli.top.servers.figures import KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.cli.top.servers.figures import Figures, ModelFigures, Report
    from tokengrpc.cli.top.servers.history import History

_QUANTILES = {"p50": 0.5, "p99": 0.99}


def to_json(made: Report, histories: Sequence[History], wall: float) -> dict[str, Any]:
    """Returns an object for JSON. `wall` is the time, in seconds since 1970."""
    return {
        "time": _time(wall),
        "seconds": made.seconds,
        "servers": [
            {**_server(history, wall), **_group(figures)}
            for history, figures in zip(histories, made.servers, strict=True)
        ],
        "total": _group(made.total),
        "models": {name: _model(model) for name, model in sorted(made.models.items())},
        "errors": {
            reason: {kind: round(kinds.get(kind, 0.0)) for kind in KINDS}
            for reason, kinds in sorted(made.total.errors.items())
        },
    }


def _server(history: History, wall: float) -> dict[str, Any]:
    sample = history.sample
    stores = sample.gauges.items() if sample is not None else ()
    return {
        "admin": history.address,
        "state": history.state.value,
        "since": _time(history.since),
        "error": history.error if sample is None else "",
        "restarted": _time(history.restarted) if history.restarted is not None else None,
        "uptime_seconds": history.uptime(wall),
        "event_loop_lag_seconds": sample.gauge(series.LOOP_LAG) if sample is not None else None,
        "stores_unavailable": sorted(
            values[0] for (name, values), value in stores if name == series.STORE_AVAILABLE and not value
        ),
    }


def _model(figures: ModelFigures) -> dict[str, Any]:
    engines = {name: _engine(engine) for name, engine in sorted(figures.engines.items())}
    return {**_group(figures), "engines": engines}


def _engine(figures: Figures) -> dict[str, Any]:
    return {
        "running": figures.gauge(series.RUNNING),
        "tokens": figures.count(series.TOKENS),
        "tokens_per_second": figures.rates.get(series.TOKENS, 0.0),
        "inter_token_latency_seconds": _latency(figures, series.INTER_TOKEN),
        "engine_errors": figures.count(series.ENGINE_ERRORS),
        "breakers": {state: round(count) for state, count in sorted(figures.breakers.items())},
    }


def _group(figures: Figures) -> dict[str, Any]:
    return {
        "streams": figures.gauge(series.READERS),
        "queued": figures.gauge(series.WAITING),
        "unready": figures.unready,
        "admitted": figures.count(series.ADMITTED),
        "succeeded": figures.count(series.SUCCEEDED),
        "failed": figures.failed,
        "cancelled": figures.cancelled,
        "time_to_first_token_seconds": _latency(figures, series.FIRST_TOKEN),
        **_engine(figures),
    }


def _latency(figures: Figures, histogram: str) -> dict[str, float | None]:
    observed = max(figures.buckets.get(histogram, {}).values(), default=0.0)
    shares = {name: figures.quantile(histogram, share) for name, share in _QUANTILES.items()}
    return {"count": round(observed), **shares}


def _time(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
