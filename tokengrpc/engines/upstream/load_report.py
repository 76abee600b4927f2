"""The load that a server reports in a response header (ORCA, "Open Request Cost Aggregation").

Sources: vLLM, vllm/entrypoints/serve/utils/orca_metrics.py (`TEXT named_metrics.num_requests_waiting=2.0`,
`JSON {"named_metrics": {…}}`); Triton's client docs, "ORCA header metrics". vLLM sends the header with
answers that are not streamed only (chat_completion/api_router.py).
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from tokengrpc.core.ports.engine import ReportedLoad

if TYPE_CHECKING:
    from collections.abc import Mapping

REQUEST_HEADERS = {"endpoint-load-metrics-format": "TEXT"}

_HEADER = "endpoint-load-metrics"
_WAITING = "num_requests_waiting"
_LONGEST = 8 * 1024
_MOST = 1e6


def read_load(headers: Mapping[str, str]) -> ReportedLoad | None:
    """Returns the load in a response's headers; None if there is none, or none that can be read."""
    value = headers.get(_HEADER, "")
    if not value or len(value) > _LONGEST:
        return None
    form, _, text = value.strip().partition(" ")
    metrics = _from_json(text) if form.upper() == "JSON" else _from_text(text or value)
    waiting = _number(metrics.get(_WAITING, metrics.get(f"named_metrics.{_WAITING}")))
    return None if waiting is None else ReportedLoad(waiting=waiting)


def _from_text(text: str) -> dict[str, Any]:
    pairs = (pair.partition("=") for pair in text.split(","))
    return {name.strip(): value.strip() for name, _, value in pairs}


def _from_json(text: str) -> dict[str, Any]:
    try:
        report = json.loads(text if text.lstrip().startswith("{") else f"{{{text}}}")
    except (ValueError, RecursionError):
        return {}
    named = report.get("named_metrics") if isinstance(report, dict) else None
    return named if isinstance(named, dict) else {}


def _number(value: object) -> float | None:
    """Returns a count between 0 and a million; None for what is no count."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return min(number, _MOST) if math.isfinite(number) and number >= 0 else None
