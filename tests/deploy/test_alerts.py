"""Each alert fires when it should, stays quiet when it should, and says what and where."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.deploy.alert_cases import CASES, Case
from tests.support.paths import ROOT
from tests.support.prometheus import promtool

if TYPE_CHECKING:
    from pathlib import Path

RULES = ROOT / "deploy" / "alerts.yml"
RUNBOOK = ROOT / "docs" / "runbook.md"
GROUPS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
RULE_LIST: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = [rule for rule in RULE_LIST if "alert" in rule]


def test_promtool_accepts_the_rules() -> None:
    """With all its lints."""
    assert "SUCCESS" in promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)


@pytest.mark.parametrize("rule", RULE_LIST[:5], ids=lambda rule: rule.get("record", ""))
def test_ratios_have_the_range_of_their_name(rule: dict[str, Any]) -> None:
    """In both halves."""
    assert re.findall(r"\[(\w+)\]", rule["expr"]) == [rule["record"].partition("ratio_rate")[2]] * 2


def rule_test(case: Case, series: dict[str, str], expected: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns a test of promtool: with these series, the alert fires as expected."""
    labels = "".join(f',{name}="{value}"' for name, value in case.labels.items())
    query = f'ALERTS{{alertname="{case.alert}",alertstate="firing",severity="{case.severity}"{labels}}}'
    return {
        "interval": f"{case.step}m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": query, "eval_time": f"{case.minutes}m", "exp_samples": expected}],
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert} {case.id}".strip())
def test_alerts_fire_and_stay_quiet(case: Case, tmp_path: Path) -> None:
    """With the labels that its texts use, and no others."""
    labels = {"alertname": case.alert, "alertstate": "firing", "severity": case.severity, **case.labels}
    written = ",".join(f'{name}="{value}"' for name, value in labels.items())
    alert = {"labels": f"ALERTS{{{written}}}", "value": 1}
    whole = {
        "rule_files": [str(RULES)],
        "evaluation_interval": f"{case.step}m",
        # Otherwise promtool takes them in any order, and alerts may see the ratios of the step before.
        "group_eval_order": [group["name"] for group in GROUPS],
        "tests": [rule_test(case, case.fires, [alert]), rule_test(case, case.quiet, [])],
    }
    file = tmp_path / "test.json"
    file.write_text(json.dumps(whole))
    promtool("test", "rules", file)


def test_each_alert_has_a_case_for_each_severity() -> None:
    """So none is untested."""
    stated = {(rule["alert"], rule["labels"]["severity"], rule["labels"].get("long")) for rule in ALERTS}
    assert {(case.alert, case.severity, case.labels.get("long")) for case in CASES} == stated


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert} {case.id}".strip())
def test_texts_use_only_labels_that_the_alert_has(case: Case) -> None:
    """Another one would be shown as nothing."""
    for rule in (rule for rule in ALERTS if rule["alert"] == case.alert):
        texts = rule["annotations"]
        used = re.findall(r"\$labels\.(\w+)", texts["summary"] + texts["description"])
        assert set(used) <= case.labels.keys()


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_each_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    """By a summary, a description, and its own section of the runbook."""
    texts = rule["annotations"]
    assert texts.keys() == {"summary", "description", "runbook_url"}
    assert rule["labels"]["severity"] in {"critical", "warning"}
    url, _, anchor = texts["runbook_url"].partition("#")
    assert url.endswith("/docs/runbook.md")
    assert anchor == rule["alert"].lower()
    assert f"\n## {rule['alert']}\n" in RUNBOOK.read_text()


def test_the_runbook_has_no_other_alerts() -> None:
    """Each section about an alert is of one that exists."""
    told = re.findall(r"^## (Tokengrpc\w+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert sorted(told) == sorted({rule["alert"] for rule in ALERTS})
