"""Panels, as Grafana's own library builds them."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_uppercase
from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DataTransformerConfig,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.cog.variants import Dataquery
    from grafana_foundation_sdk.models.dashboard import Panel

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")


@dataclass(frozen=True)
class Query:
    """An expression, and the legend of its series."""

    expression: str
    legend: str = "__auto"


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Lines over time; filled and on top of each other if `stacked`. Units are Grafana's."""

    title: str
    meaning: str
    unit: str
    queries: Sequence[Query]
    stacked: bool = False

    def build(self) -> Builder[Panel]:
        """Returns a third of a row."""
        panel = (
            timeseries.Panel()
            .title(self.title)
            .description(self.meaning)
            .datasource(SOURCE)
            .unit(self.unit)
            .min(0)
            .span(8)
            .height(8)
            .fill_opacity(25 if self.stacked else 5)
            .legend(
                common.VizLegendOptions()
                .display_mode(LegendDisplayMode.LIST)
                .placement(LegendPlacement.BOTTOM)
                .show_legend(True)
            )
            .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
            .targets(_targets(self.queries))
        )
        return panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL)) if self.stacked else panel


@dataclass(frozen=True, kw_only=True)
class Number:
    """The last value of one expression; yellow or red from a value on, if there are such."""

    title: str
    meaning: str
    unit: str
    query: str
    yellow: float | None = None
    red: float | None = None

    def build(self) -> Builder[Panel]:
        """Returns a sixth of a row."""
        bounds = [("green", None), ("yellow", self.yellow), ("red", self.red)]
        steps = [Threshold(v, color) for color, v in bounds if color == "green" or v is not None]
        return (
            stat.Panel()
            .title(self.title)
            .description(self.meaning)
            .datasource(SOURCE)
            .unit(self.unit)
            .span(4)
            .height(4)
            .graph_mode(BigValueGraphMode.AREA)
            .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
            .thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
            .targets(_targets([Query(self.query)]))
        )


@dataclass(frozen=True, kw_only=True)
class States:
    """Bands over time: red while the value is 0, green while it is 1."""

    title: str
    meaning: str
    query: Query
    names: tuple[str, str]
    """Of 0 and 1."""

    def build(self) -> Builder[Panel]:
        """Returns a third of a row."""
        named = zip(self.names, ("red", "green"), strict=True)
        words = {
            str(i): ValueMappingResult(text=word, color=color, index=i)
            for i, (word, color) in enumerate(named)
        }
        return (
            statetimeline.Panel()
            .title(self.title)
            .description(self.meaning)
            .datasource(SOURCE)
            .span(8)
            .height(8)
            .fill_opacity(70)
            .line_width(0)
            .mappings([ValueMap(options=words)])
            .targets(_targets([self.query]))
        )


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The series of an expression now, with these labels as columns."""

    title: str
    meaning: str
    query: str
    columns: tuple[str, ...]

    def build(self) -> Builder[Panel]:
        """Returns a third of a row."""
        hidden = {"Time": True, "Value": True, "__name__": True}
        places = {name: i for i, name in enumerate(self.columns)}
        options = {"excludeByName": hidden, "indexByName": places}
        return (
            table.Panel()
            .title(self.title)
            .description(self.meaning)
            .datasource(SOURCE)
            .span(8)
            .height(8)
            .with_transformation(DataTransformerConfig(id_val="organize", options=options))
            .with_target(
                prometheus.Dataquery()
                .expr(self.query)
                .instant()
                .format(PromQueryFormat.TABLE)
                .datasource(SOURCE)
                .ref_id("A")
            )
        )


AnyPanel = Chart | Number | States | Rows


def _targets(queries: Sequence[Query]) -> list[Builder[Dataquery]]:
    return [
        prometheus.Dataquery()
        .expr(query.expression)
        .legend_format(query.legend)
        .datasource(SOURCE)
        .ref_id(letter)
        for letter, query in zip(ascii_uppercase, queries, strict=False)
    ]
