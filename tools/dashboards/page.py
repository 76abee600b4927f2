"""Dashboards, as Grafana's own library builds them: rows of panels below the variables that choose series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from tools.dashboards.panels import SOURCE, AnyPanel
from tools.dashboards.queries import FILTERED, values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grafana_foundation_sdk.models.dashboard import Dashboard

TAG = "tokengrpc"
_HAS = {
    "job": "tokengrpc_build_info",
    "instance": "tokengrpc_build_info",
    "model": "tokengrpc_model_ready",
    "engine": "tokengrpc_num_requests_running",
    "tenant": "tokengrpc_request_admitted_total",
}
"""For each variable, the metric that has its values."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """A dashboard: rows of panels, by title."""

    uid: str
    title: str
    meaning: str
    rows: dict[str, Sequence[AnyPanel]]

    def build(self) -> Dashboard:
        """Returns the dashboard."""
        made = (
            dashboard.Dashboard(self.title)
            .uid(self.uid)
            .description(self.meaning)
            .tags([TAG])
            .time("now-1h", "now")
            .refresh("30s")
            .timezone("browser")
            .tooltip(DashboardCursorSync.CROSSHAIR)
            .link(
                dashboard.DashboardLink("tokengrpc")
                .type(DashboardLinkType.DASHBOARDS)
                .tags([TAG])
                .include_vars(True)
                .keep_time(True)
            )
            .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        )
        for label in FILTERED:
            made = made.with_variable(_variable(label))
        number = 0
        for title, panels in self.rows.items():
            number += 1
            made = made.with_row(dashboard.Row(title).id(number))
            for panel in panels:
                number += 1
                made = made.with_panel(panel.build().id(number))  # type: ignore[attr-defined]
        return made.build()


def _variable(label: str) -> dashboard.QueryVariable:
    """Returns a variable of which several values, or by default all, may be chosen."""
    return (
        dashboard.QueryVariable(label)
        .label(label.capitalize())
        .datasource(SOURCE)
        .query({"query": values(label, _HAS[label]), "refId": label})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(VariableOption(text="All", value="$__all"))
    )
