"""The page of metrics has the table of the code."""

from __future__ import annotations

import re

from tests.support.admin_pages import unstarted_metrics
from tests.support.fault_page import WRITE_DOCS
from tests.support.paths import ROOT
from tokengrpc.telemetry import metric_table

PAGE = ROOT / "docs" / "metrics.md"
HEAD = "| Name | Type | Labels | Meaning |\n|---|---|---|---|\n"
METRICS = (*metric_table.COUNTED, *metric_table.READ)


def test_the_table_of_metrics_matches_the_code() -> None:
    """With TOKENGRPC_WRITE_DOCS=1, it is written."""
    rows = "".join(
        f"| `{m.name}` | {m.kind} | {', '.join(f'`{label}`' for label in m.labels)} |"
        f" {m.meaning[0].upper()}{m.meaning[1:]} |\n"
        for m in METRICS
    )
    before, after = re.split(rf"{re.escape(HEAD)}(?:[|].*\n)*", PAGE.read_text())
    whole = before + HEAD + rows + after
    if WRITE_DOCS:
        PAGE.write_text(whole)
    assert PAGE.read_text() == whole, "run TOKENGRPC_WRITE_DOCS=1 pytest tests/docs/test_metrics_page.py"


def test_the_table_has_every_metric_of_a_server() -> None:
    """But for those of the process."""
    page = unstarted_metrics().page().decode()
    families = set(re.findall(r"^# TYPE ((?:tokengrpc|grpc)_\S+) ", page, flags=re.MULTILINE))
    assert families == {metric.name for metric in METRICS}
