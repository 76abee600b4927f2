"""A real Prometheus scrapes a real, busy server: each query of the dashboards and of the rules has data."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from typing import TYPE_CHECKING, Any

from tests.deploy.busy_server import BusyServer
from tests.deploy.test_alerts import ALERTS, RULE_LIST, RULES
from tests.support.commands import serving, until
from tests.support.paths import ROOT
from tests.support.prometheus import Prometheus, scraping

if TYPE_CHECKING:
    from pathlib import Path

DASHBOARDS = sorted((ROOT / "deploy" / "grafana").glob("*.json"))
NOT_PROVOKED = {
    "TokengrpcCancelsLate",
    "TokengrpcCertificateExpires",
    "TokengrpcEngineSilent",
    "TokengrpcEventLoopFrozen",
    "TokengrpcEventLoopLate",
    "TokengrpcFewFiles",
    "TokengrpcFirstTokenLate",
    "TokengrpcLogLinesDropped",
    "TokengrpcMemoryHigh",
    "TokengrpcMemoryOnlyGenerations",
    "TokengrpcStoreUnavailable",
    "TokengrpcTokensLate",
    "TokengrpcWaitQueueGrows",
}
"""Alerts whose condition the load need not meet: they need minutes, an exhausted machine or a store away."""


def panel_queries() -> dict[str, str]:
    """Returns each query of the dashboards, with all values of the variables chosen."""
    found = {}
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", ()):
                expression = target["expr"].replace("$__rate_interval", "1m")
                if "certificate" not in expression:  # which this server does not have
                    name = f"{path.stem}: {panel['title']} {target['refId']}"
                    found[name] = re.sub(r"\$\w+", ".*", expression)
    assert len(found) > 50
    return found


def without_bounds(expression: str) -> str:
    """Returns an expression of an alert that holds whatever the values are."""
    return re.sub(r"(==|>|<) [\d.]+( \* [\d.]+)?", ">= -1e9", expression)


def rule_queries() -> dict[str, str]:
    """Returns the expressions of all rules, without bounds.

    But for the one that asks for an absence, and those of a certificate, which this server does not have.
    """
    found = {}
    for number, rule in enumerate(RULE_LIST):
        name = rule.get("alert") or rule["record"]
        if name not in {"TokengrpcAbsent", "TokengrpcCertificateExpires"}:
            found[f"{number}: {name}"] = without_bounds(rule["expr"])
    return found


def wait_for_data(prometheus: Prometheus, queries: dict[str, str]) -> None:
    """Waits until each query has data. Fails with those that have none."""
    left = dict(queries)

    def all_have_data() -> bool:
        for name, expression in tuple(left.items()):
            if prometheus.query(expression):
                del left[name]
        return not left

    try:
        until(all_have_data, "all have data")
    except AssertionError:
        raise AssertionError(f"without data: {json.dumps(left, indent=1)}") from None


def wait_for_alerts(prometheus: Prometheus, names: set[str]) -> list[dict[str, Any]]:
    """Waits until the conditions of these alerts hold. Returns all alerts whose condition holds."""

    def active() -> list[dict[str, Any]]:
        return list((prometheus.get("alerts") or {"alerts": []})["alerts"])

    def holds() -> bool:
        return names <= {alert["labels"]["alertname"] for alert in active()}

    until(holds, f"the conditions of {names} hold")
    return active()


def test_each_query_has_data_and_alerts_are_raised(tmp_path: Path) -> None:
    """Under a load of successes, failures, rejections and recoveries; then in a drain, and after the end."""
    busy = BusyServer(tmp_path)
    alerts: list[dict[str, Any]] = []
    with (
        serving("--config", str(busy.config)) as server,
        scraping(tmp_path, busy.admin, rules=(RULES,)) as prometheus,
    ):
        until(lambda: prometheus.query("tokengrpc_build_info"), "the first scrape")
        asyncio.run(busy.load(server.target))
        wait_for_data(prometheus, panel_queries() | rule_queries())
        at_work = {rule["alert"] for rule in ALERTS} - NOT_PROVOKED
        at_work -= {"TokengrpcDrainStuck", "TokengrpcTargetDown", "TokengrpcAbsent"}
        alerts += wait_for_alerts(prometheus, at_work)
        long = ("stream", "--model", "narrow", "hello", "--max-tokens", "2000")
        with server.running(*long, "--token-file", str(busy.key)) as reader:
            assert reader.stdout is not None
            reader.stdout.read(1)
            server.process.send_signal(signal.SIGTERM)
            alerts += wait_for_alerts(prometheus, {"TokengrpcDrainStuck"})
        server.process.send_signal(signal.SIGTERM)  # the second one
        server.process.wait(60)
        alerts += wait_for_alerts(prometheus, {"TokengrpcTargetDown", "TokengrpcAbsent"})
    texts = [alert["annotations"][name] for alert in alerts for name in ("summary", "description")]
    assert [text for text in texts if re.search(r"<|no value|error calling|NaN|  | of \.| of $", text)] == []
