"""The dashboards are those that `tools/dashboards` describes, in Grafana's schema."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

DASHBOARDS = sorted((ROOT / "deploy" / "grafana").glob("*.json"))


def test_the_dashboards_are_current() -> None:
    """`make dashboards` would change nothing."""
    command = [sys.executable, "-m", "tools.dashboards", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_has_only_what_grafana_knows(path: Path) -> None:
    """Grafana's own library reads all of it, and writes the same."""
    register_default_plugins()  # the kinds of panels and queries
    shown = json.loads(path.read_text())
    assert json.loads(json.dumps(Dashboard.from_json(shown), cls=JSONEncoder)) == shown


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_have_a_meaning_and_do_not_overlap(path: Path) -> None:
    """Within the 24 columns of the grid."""
    panels = json.loads(path.read_text())["panels"]
    assert all(panel.get("description") for panel in panels if panel["type"] != "row")
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = Counter(
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    )
    assert max(cells.values()) == 1
    assert max(x for x, _ in cells) == 23
