"""The chart: each way to deploy renders objects that Kubernetes takes, and settings that the server takes."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.support.commands import tokengrpc
from tests.support.helm import CASES, CHART, container, defaults, leaves, rendered, settings_of, the
from tests.support.kubernetes_schemas import NEWEST, OLDEST, problems
from tests.support.toolchains import BUILD_TIMEOUT, go_program, ran
from tools.chart_schema import SCHEMA, current

if TYPE_CHECKING:
    from pathlib import Path

# The first test builds Helm.
pytestmark = pytest.mark.timeout(BUILD_TIMEOUT + 120)

CORE = {"ConfigMap", "Deployment", "Pod", "Service"}
ALWAYS = CORE | {"NetworkPolicy", "PodDisruptionBudget", "ServiceAccount"}
KINDS = {
    "smallest": ALWAYS,
    "vllm-tls": ALWAYS,
    "mutual-tls": ALWAYS,
    "istio": ALWAYS | {"VirtualService", "DestinationRule"},
    "envoy-gateway": ALWAYS | {"GRPCRoute", "BackendTrafficPolicy"},
    "http-route": ALWAYS | {"HTTPRoute"},
    "ingress-nginx": ALWAYS | {"Ingress"},
    "nginx-f5": ALWAYS | {"Ingress"},
    "monitoring-hpa": ALWAYS | {"HorizontalPodAutoscaler", "ServiceMonitor", "PrometheusRule"},
    "keda": ALWAYS | {"ScaledObject"},
    "every-pod-option": ALWAYS,
    "everything-off": CORE,
}
"""The kinds of objects that each file of deploy/helm/tokengrpc/ci renders."""


def named(case: Path) -> str:
    """Returns the name of a file of values."""
    return case.name.removesuffix("-values.yaml")


OWN_SETTINGS = [
    case for case in CASES if re.search("^(config|tls|# The smallest)", case.read_text("utf-8"), re.MULTILINE)
]
"""Those whose settings of the server differ from the others'."""
every_case = pytest.mark.parametrize("case", CASES, ids=named)


def test_each_way_to_deploy_has_its_kinds():
    """No object is missing, and none is there that was not asked for."""
    told = {named(case): {o["kind"] for o in rendered(case)} for case in CASES}
    assert told == KINDS


@every_case
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_accepts_all_objects(case: Path, version: str):
    """Of the oldest version that the chart allows, and of the newest; no field is unknown."""
    assert [text for found in rendered(case) for text in problems(found, version)] == []


@every_case
def test_helm_finds_nothing_wrong(case: Path):
    """`helm lint --strict` takes warnings as errors."""
    ran(go_program("helm"), "lint", "--strict", "--values", case, CHART, folder=CHART)


@pytest.mark.parametrize("case", OWN_SETTINGS, ids=named)
def test_the_server_accepts_the_settings(case: Path, tmp_path: Path):
    """`tokengrpc config` reads the rendered file, and the file has each value as it was set."""
    found = settings_of(rendered(case))
    file = tmp_path / "tokengrpc.toml"
    file.write_text(found)
    done = tokengrpc("config", "--config", str(file))
    assert done.returncode == 0, done.stderr
    told = tomllib.loads(found)
    for name, value in yaml.safe_load(case.read_text("utf-8")).get("config", {}).items():
        assert told[name] == (told[name] | value if isinstance(value, dict) else value)


def test_some_way_to_deploy_sets_each_value():
    """So that each value is rendered in more than its default."""
    known = defaults()
    set_somewhere = {
        path
        for case in CASES
        for path, value in leaves(yaml.safe_load(case.read_text("utf-8"))).items()
        if known.get(path) != value
    }
    assert {path for path in known if path not in set_somewhere} == set()


def test_the_readme_has_each_value_with_its_default():
    """In the order of values.yaml."""
    lines = [line for line in (CHART / "README.md").read_text("utf-8").splitlines() if line.startswith("| `")]
    cells = [line.strip("| ").split(" | ") for line in lines]
    told = {cell[0].strip("`"): yaml.safe_load(cell[1].strip("`")) for cell in cells}
    assert list(told.items()) == list((defaults() | {"config": told["config"]}).items())


def test_the_schema_has_the_settings_of_the_server():
    """It was written after the last change of a setting: `python -m tools.chart_schema`."""
    text = SCHEMA.read_text("utf-8")
    assert text == current(text), "run python -m tools.chart_schema"


@every_case
def test_every_pod_is_restricted(case: Path):
    """As the Pod Security Standard of that name asks for, and without a token of the cluster."""
    found = rendered(case)
    for pod in (the(found, "Pod")["spec"], the(found, "Deployment")["spec"]["template"]["spec"]):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
        for one in pod["containers"]:
            assert one["securityContext"]["allowPrivilegeEscalation"] is False
            assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True


def test_a_change_of_the_settings_is_a_rollout():
    """Their checksum is part of the pods; that of the same settings stays."""

    def checksum(*settings: str) -> str:
        template = the(rendered(CASES[0], *settings), "Deployment")["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert checksum("replicaCount=3") == checksum()
    assert checksum("config.limits.max_readers=3") != checksum()


def test_selectors_match_the_pods_and_only_those():
    """Services, budget, policy and spread select the server's pods, and not the pod of `helm test`."""
    found = rendered(CASES[0])
    deployment = the(found, "Deployment")["spec"]
    wanted = deployment["selector"]["matchLabels"].items()
    assert wanted <= deployment["template"]["metadata"]["labels"].items()
    assert not wanted <= the(found, "Pod")["metadata"]["labels"].items()
    for service in (o for o in found if o["kind"] == "Service"):
        assert service["spec"]["selector"].items() == wanted
    assert the(found, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() == wanted
    assert the(found, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"].items() == wanted


def test_ports_are_those_that_the_server_listens_on():
    """Of container, services and probes."""
    found = rendered(CASES[0])
    server = container(found)
    assert {port["name"]: port["containerPort"] for port in server["ports"]} == {
        "grpc": 50051,
        "admin-http": 9090,
        "admin-grpc": 9091,
    }
    probes = [server[f"{name}Probe"]["grpc"] for name in ("startup", "readiness", "liveness")]
    assert {probe["port"] for probe in probes} == {9091}
    for address in ("0.0.0.0:50051", "0.0.0.0:9090", "0.0.0.0:9091"):
        assert f'"{address}"' in settings_of(found)
