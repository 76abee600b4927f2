"""The kustomize files render what the chart renders, with less to choose from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.support.commands import tokengrpc
from tests.support.helm import CHART, KUSTOMIZE, Manifest, built, rendered, settings_of, the
from tests.support.kubernetes_schemas import NEWEST, OLDEST, problems
from tests.support.paths import ROOT
from tests.support.toolchains import BUILD_TIMEOUT
from tools import prometheus_rule

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(BUILD_TIMEOUT + 120)

FOLDERS = ("base", *sorted(f"overlays/{path.name}" for path in (KUSTOMIZE / "overlays").iterdir()))
SAME = ("Deployment", "NetworkPolicy", "PodDisruptionBudget")


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_accepts_all_objects(folder: str, version: str):
    """Of the oldest and the newest version; no field is unknown."""
    assert [text for found in built(folder) for text in problems(found, version)] == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_server_accepts_the_settings(folder: str, tmp_path: Path):
    """`tokengrpc config` reads the file of every folder."""
    file = tmp_path / "tokengrpc.toml"
    file.write_text(settings_of(built(folder)))
    done = tokengrpc("config", "--config", str(file))
    assert done.returncode == 0, done.stderr


def comparable(found: list[Manifest], kind: str) -> Any:
    """Returns the specification of an object without what has other names in a release."""
    spec = the(found, kind)["spec"]
    for key in ("selector", "podSelector"):
        spec.pop(key, None)
    if kind == "Deployment":
        pod = spec["template"].pop("metadata") and spec["template"]["spec"]
        pod["containers"][0].pop("image")
        next(volume for volume in pod["volumes"] if volume["name"] == "config")["configMap"].pop("name")
        for spread in pod["topologySpreadConstraints"]:
            spread.pop("labelSelector")
    return spec


@pytest.mark.parametrize("kind", SAME)
def test_the_base_is_the_chart_with_its_defaults(kind: str):
    """So that whoever changes one changes the other."""
    chart = rendered(CHART / "ci/smallest-values.yaml", 'fullnameOverride="tokengrpc"')
    assert comparable(built("base"), kind) == comparable(chart, kind)


def test_services_have_the_ports_of_the_chart():
    """Both of them."""
    chart = rendered(CHART / "ci/smallest-values.yaml", 'fullnameOverride="tokengrpc"')
    for name in ("tokengrpc", "tokengrpc-headless"):
        ports = [the(found, "Service", name)["spec"]["ports"] for found in (built("base"), chart)]
        assert ports[0] == ports[1]


def test_a_change_of_the_settings_is_a_rollout():
    """The name of the settings depends on them."""
    names = {
        found["metadata"]["name"]
        for folder in FOLDERS
        for found in built(folder)
        if found["kind"] == "ConfigMap" and "tokengrpc.toml" in found["data"]
    }
    assert len(names) == len({"base", "mesh", "tls"})


def test_monitoring_has_all_alerts_and_dashboards():
    """The copy of the alerts was written after their last change: `python -m tools.prometheus_rule`."""
    text = prometheus_rule.RULE.read_text("utf-8")
    assert text == prometheus_rule.current(), "run python -m tools.prometheus_rule"
    found = built("overlays/monitoring")
    alerts = yaml.safe_load((ROOT / "deploy/alerts.yml").read_text("utf-8"))
    assert the(found, "PrometheusRule")["spec"] == alerts
    shown = the(found, "ConfigMap", "tokengrpc-dashboards")["data"]
    assert shown == {path.name: path.read_text("utf-8") for path in (ROOT / "deploy/grafana").glob("*.json")}
