"""What is published of the chart, and what it tells whoever installs it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.support.helm import CHART, notes, rendered, template, the
from tests.support.kubernetes_schemas import objects
from tests.support.paths import ROOT
from tests.support.toolchains import BUILD_TIMEOUT, go_program, ran

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(BUILD_TIMEOUT + 120)

SMALLEST = CHART / "ci/smallest-values.yaml"
MONITORING = CHART / "ci/monitoring-hpa-values.yaml"


def test_the_package_renders_what_the_folder_does(tmp_path: Path):
    """With the alerts and dashboards that links in the folder lead to, and without values for tests."""
    ran(go_program("helm"), "package", CHART, "--destination", tmp_path, folder=CHART)
    (package,) = tmp_path.iterdir()
    done = template(MONITORING, chart=package)
    assert done.returncode == 0, done.stderr
    assert objects(done.stdout) == rendered(MONITORING)
    files = ran("tar", "tzf", package, folder=tmp_path).stdout
    assert "tokengrpc/files/alerts.yml" in files
    assert "tokengrpc/ci/" not in files


def test_the_chart_has_all_alerts_and_dashboards():
    """As they are in deploy/."""
    found = rendered(MONITORING)
    alerts = yaml.safe_load((ROOT / "deploy/alerts.yml").read_text("utf-8"))
    assert the(found, "PrometheusRule")["spec"] == alerts
    shown = {
        name: text
        for one in found
        if one["kind"] == "ConfigMap"
        for name, text in one["data"].items()
        if name.endswith(".json")
    }
    dashboards = sorted((ROOT / "deploy/grafana").glob("*.json"))
    assert dashboards
    assert {name: json.loads(text) for name, text in shown.items()} == {
        path.name: json.loads(path.read_text("utf-8")) for path in dashboards
    }


KEYS = 'config.tenants=[{"name":"a","key_env":"A"}]'
TLS = 'tls={"mode":"server","secretName":"a"}'
WARNINGS = {
    (): "plaintext, and without authentication.",
    (KEYS,): "plaintext, so that keys and prompts can be read on the network.",
    (TLS,): "without authentication, so that every caller that reaches it is served.",
}


@pytest.mark.parametrize(("settings", "warning"), WARNINGS.items())
def test_notes_say_openly_what_is_insecure(settings: tuple[str, ...], warning: str):
    """Although `insecure` allowed it."""
    assert f"WARNING: the serving port is {warning}" in notes(SMALLEST, *settings).splitlines()


def test_notes_name_addresses_sources_and_times():
    """What a caller dials, who may call, and how long a pod may take to stop."""
    told = notes(
        SMALLEST, TLS, KEYS, "insecure=false", 'networkPolicy.namespaces=["search"]', "preStopSeconds=7"
    )
    assert "WARNING" not in told
    assert " demo-tokengrpc.llm.svc:50051\n" in told
    assert " dns:///demo-tokengrpc-headless.llm.svc:50051\n" in told
    assert "callers must be in llm, search;" in told
    assert "gets 77 s: 7 s until" in told
