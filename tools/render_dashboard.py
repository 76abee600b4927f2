"""Draws a dashboard of deploy/grafana as SVG, with the answers of a Prometheus, for the documentation.

    python tools/render_dashboard.py overview http://127.0.0.1:9092 120 > docs/images/overview.svg

The last argument is the time that is shown, in seconds. Grafana draws the same panels with more care.
"""

from __future__ import annotations

import json
import re
import sys
import time
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

FOLDER = Path(__file__).parents[1] / "deploy" / "grafana"
COLUMN, LINE, GAP = 50, 24, 8
"""Pixels of a column and a line of Grafana's grid, and of the space between panels."""
POINTS = 80
COLORS = ("#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#fa6400", "#37872d")
BACKGROUND, PANEL, TEXT, QUIET = "#111217", "#181b1f", "#d5d7db", "#8e9196"
RANGE = "15s"
"""Of rates: `$__rate_interval` of Grafana is four scrapes, and here Prometheus scrapes often."""

Series = tuple[str, list[tuple[float, float]]]
"""Legend, and points of time and value."""


class Source:
    """A Prometheus, and the time that is shown."""

    def __init__(self, url: str, seconds: float) -> None:
        self.url = url
        self.end = time.time()
        self.start = self.end - seconds

    def series(self, target: dict[str, Any]) -> list[Series]:
        """Returns the series of a panel's query."""
        expression = re.sub(r"\$\w+", ".*", target["expr"].replace("$__rate_interval", RANGE))
        step = (self.end - self.start) / POINTS
        query = {"query": expression, "start": self.start, "end": self.end, "step": step}
        with urlopen(f"{self.url}/api/v1/query_range?{urlencode(query)}") as answer:
            result = json.load(answer)["data"]["result"]
        return [
            (_legend(target, row["metric"]), [(t, float(v)) for t, v in row["values"] if v != "NaN"])
            for row in result
        ]


def _legend(target: dict[str, Any], labels: dict[str, str]) -> str:
    form = target.get("legendFormat", "__auto")
    if form == "__auto":
        return ", ".join(value for name, value in labels.items() if name != "__name__") or "all"
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), form)


def shown(value: float, unit: str) -> str:
    """Returns a value with its unit, in three digits."""
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s":
        return f"{value:.3g} s" if value >= 1 else f"{value * 1e3:.3g} ms"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {letter}{_SUFFIX.get(unit, '').strip()}"
    return f"{value:.3g}{_SUFFIX.get(unit, '')}"


_SUFFIX = {"reqps": " /s", "Bps": " B/s", "bytes": " B"}


def text(x: float, y: float, words: str, *, size: int = 11, color: str = TEXT, anchor: str = "start") -> str:
    """Returns a line of text."""
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" fill="{color}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )


class Frame:
    """Place of a panel, and what is drawn there."""

    def __init__(self, panel: dict[str, Any]) -> None:
        grid = panel["gridPos"]
        self.x, self.y = grid["x"] * COLUMN + GAP / 2, grid["y"] * LINE + GAP / 2
        self.width, self.height = grid["w"] * COLUMN - GAP, grid["h"] * LINE - GAP
        self.unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit", "none")
        self.drawn: list[str] = []

    def number(self, found: list[Series]) -> None:
        """Draws the last value, large."""
        value = next((points[-1][1] for _, points in found if points), None)
        words = "no data" if value is None else shown(value, self.unit)
        self.drawn.append(
            text(self.x + self.width / 2, self.y + self.height * 0.72, words, size=26, anchor="middle")
        )

    def lines(self, found: list[Series], source: Source, *, stacked: bool) -> None:
        """Draws lines over time below a legend of those that end highest."""
        found = sorted((s for s in found if s[1]), key=lambda s: -s[1][-1][1])
        left, right = self.x + 52, self.x + self.width - 8
        top, bottom = self.y + 28, self.y + self.height - 22
        curves = _stacked(found) if stacked else found
        high = max((v for _, points in curves for _, v in points), default=0.0) or 1.0
        for part in (0, 0.5, 1):
            y = bottom - (bottom - top) * part
            self.drawn.append(f'<path d="M{left:.0f} {y:.0f}H{right:.0f}" stroke="#2b2e33"/>')
            self.drawn.append(
                text(left - 5, y + 4, shown(high * part, self.unit), size=9, color=QUIET, anchor="end")
            )
        scale = (right - left) / (source.end - source.start)
        x = left
        for (legend, points), color in zip(curves, COLORS * 9, strict=False):
            places = " ".join(
                f"{left + (t - source.start) * scale:.0f},{bottom - v / high * (bottom - top):.0f}"
                for t, v in points
            )
            self.drawn.append(f'<polyline points="{places}" fill="none" stroke="{color}"/>')
            if x + 7 * len(legend) < right:
                self.drawn.append(text(x, bottom + 15, f"● {legend}", size=9, color=color))
                x += 6 * len(legend) + 18

    def bands(self, found: list[Series], source: Source) -> None:
        """Draws a band for each series, green where it is 1 and red where it is 0."""
        height = min(22.0, (self.height - 34) / max(1, len(found)))
        left = self.x + 130
        scale = (self.x + self.width - 8 - left) / (source.end - source.start)
        for number, (legend, points) in enumerate(sorted(found)):
            y = self.y + 28 + number * height
            self.drawn.append(text(self.x + 8, y + height - 6, legend, size=9))
            for t, v in points:
                place = left + (t - source.start) * scale
                width = scale * (source.end - source.start) / POINTS + 0.5
                color = COLORS[0] if v else COLORS[4]
                size = f'width="{width:.1f}" height="{height - 4:.0f}"'
                self.drawn.append(f'<rect x="{place:.1f}" y="{y:.0f}" {size} fill="{color}"/>')


def _stacked(found: list[Series]) -> list[Series]:
    """Returns each series on top of those before it."""
    sums: dict[float, float] = {}
    curves = []
    for legend, points in found:
        for t, v in points:
            sums[t] = sums.get(t, 0.0) + v
        curves.append((legend, [(t, sums[t]) for t, _ in points]))
    return curves


def draw(panel: dict[str, Any], source: Source) -> list[str]:
    """Returns a panel, or the title of a row."""
    frame = Frame(panel)
    if panel["type"] == "row":
        return [text(frame.x, frame.y + 13, panel["title"], size=13)]
    found = [series for target in panel["targets"] for series in source.series(target)]
    custom = panel["fieldConfig"]["defaults"].get("custom", {})
    if panel["type"] == "stat":
        frame.number(found)
    elif panel["type"] == "state-timeline":
        frame.bands(found, source)
    elif panel["type"] == "timeseries":
        frame.lines(found, source, stacked=custom.get("stacking", {}).get("mode") == "normal")
    else:
        frame.drawn += [
            text(frame.x + 8, frame.y + 40 + 16 * i, legend, size=9) for i, (legend, _) in enumerate(found)
        ]
    border = f'x="{frame.x:.0f}" y="{frame.y:.0f}" width="{frame.width:.0f}" height="{frame.height:.0f}"'
    head = [f'<rect {border} rx="3" fill="{PANEL}"/>', text(frame.x + 8, frame.y + 16, panel["title"])]
    return head + frame.drawn


def main() -> int:
    name, url, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    panels = json.loads((FOLDER / f"{name}.json").read_text())["panels"]
    source = Source(url, seconds)
    width = 24 * COLUMN
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) * LINE
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">')
    print(f'<rect width="{width}" height="{height}" fill="{BACKGROUND}"/>')
    for panel in panels:
        print("".join(draw(panel, source)))
    print("</svg>")
    return 0


if __name__ == "__main__":
    sys.exit(main())
