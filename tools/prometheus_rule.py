"""Writes the alerts as a PrometheusRule for kustomize, which cannot make one of deploy/alerts.yml itself."""

from __future__ import annotations

from pathlib import Path

DEPLOY = Path(__file__).parents[1] / "deploy"
RULE = DEPLOY / "kustomize/overlays/monitoring/prometheusrule.yaml"
HEAD = """\
# Written by tools/prometheus_rule.py from deploy/alerts.yml.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata: {name: tokengrpc}
spec:
"""


def current() -> str:
    """Returns the rule with the alerts of today."""
    lines = (DEPLOY / "alerts.yml").read_text("utf-8").splitlines()
    return HEAD + "".join(f"  {line}".rstrip() + "\n" for line in lines)


if __name__ == "__main__":
    RULE.write_text(current(), "utf-8")
