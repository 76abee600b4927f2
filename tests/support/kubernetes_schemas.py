"""Validates Kubernetes objects, as an API server would before it stores them.

The schemas of Kubernetes come with the package kubernetes-validate; those of custom resources are the
definitions that their projects publish as Go modules.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jsonschema_rs
import pytest
import yaml

from tests.support.paths import ROOT
from tests.support.toolchains import GO, require, run

if TYPE_CHECKING:
    from collections.abc import Iterator


OLDEST: Final = "1.30"
"""The oldest version that the chart allows."""
NEWEST: Final = "1.37"


@dataclass(frozen=True)
class CustomResource:
    """Where the definition of a kind of custom resources is published."""

    module: str
    file: str


_GATEWAY_API = "sigs.k8s.io/gateway-api@v1.6.1"
_OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
_ISTIO = CustomResource("istio.io/api@v1.32.0", "kubernetes/customresourcedefinitions.gen.yaml")

CUSTOM: Final = {
    ("gateway.networking.k8s.io/v1", "GRPCRoute"): CustomResource(
        _GATEWAY_API, "config/crd/standard/gateway.networking.k8s.io_grpcroutes.yaml"
    ),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): CustomResource(
        _GATEWAY_API, "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"
    ),
    ("gateway.envoyproxy.io/v1alpha1", "BackendTrafficPolicy"): CustomResource(
        "github.com/envoyproxy/gateway@v1.9.1",
        "charts/gateway-helm/charts/crds/crds/generated/gateway.envoyproxy.io_backendtrafficpolicies.yaml",
    ),
    ("networking.istio.io/v1", "VirtualService"): _ISTIO,
    ("networking.istio.io/v1", "DestinationRule"): _ISTIO,
    ("keda.sh/v1alpha1", "ScaledObject"): CustomResource(
        "github.com/kedacore/keda/v2@v2.21.0", "config/crd/bases/keda.sh_scaledobjects.yaml"
    ),
    ("monitoring.coreos.com/v1", "ServiceMonitor"): CustomResource(
        _OPERATOR, "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml"
    ),
    ("monitoring.coreos.com/v1", "PrometheusRule"): CustomResource(
        _OPERATOR, "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml"
    ),
}
"""The kinds of custom resources, by group with version, and name."""


class _Loader(yaml.SafeLoader):
    """Loads YAML as an API server does: a key that occurs twice in a map is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := {key for key in keys if keys.count(key) > 1}:
            raise yaml.constructor.ConstructorError(problem=f"twice: {twice}", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


def objects(text: str) -> list[dict[str, Any]]:
    """Returns the objects of a YAML stream. Raises YAMLError, also for a key that occurs twice in a map."""
    return [found for found in yaml.load_all(text, _Loader) if found is not None]


def problems(found: dict[str, Any], version: str) -> Iterator[str]:
    """Yields what a Kubernetes of this version would refuse in an object, unknown fields included."""
    api, kind = found["apiVersion"], found["kind"]
    custom = CUSTOM.get((api, kind))
    validator = _of_kubernetes(api, kind, version) if custom is None else _of_custom(api, kind)
    where = f"{kind} {found['metadata']['name']}"
    for error in validator.iter_errors(found):
        yield f"{where}: {'.'.join(map(str, error.instance_path))}: {error.message}"


@cache
def _of_kubernetes(api: str, kind: str, version: str) -> jsonschema_rs.Validator:
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    suffix = "-".join([part.partition(".")[0] for part in api.split("/")])
    schema = json.loads((folder / f"{kind.lower()}-{suffix}.json").read_text("utf-8"))
    return jsonschema_rs.Draft7Validator(schema, registry=_definitions(version))


@cache
def _definitions(version: str) -> jsonschema_rs.Registry:
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    schema = json.loads((folder / "_definitions.json").read_text("utf-8"))
    return jsonschema_rs.Registry([("json-schema:///api/_definitions.json", schema)])


@cache
def _of_custom(api: str, kind: str) -> jsonschema_rs.Validator:
    resource = CUSTOM[api, kind]
    _, _, version = api.partition("/")
    for found in yaml.safe_load_all((_downloaded(resource.module) / resource.file).read_text("utf-8")):
        if found and found["kind"] == "CustomResourceDefinition" and found["spec"]["names"]["kind"] == kind:
            (schema,) = [
                served["schema"]["openAPIV3Schema"]
                for served in found["spec"]["versions"]
                if served["name"] == version
            ]
            closed = _closed(schema)
            closed["properties"] |= dict.fromkeys(("apiVersion", "kind", "metadata"), True)
            return jsonschema_rs.Draft7Validator(closed)
    raise LookupError(f"{resource} does not define {kind}")


def _closed(schema: Any) -> Any:
    """Returns a schema of a custom resource that allows no field that an API server would drop."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items() if key not in {"format", "properties"}}
    if isinstance(schema.get("pattern"), str):
        closed["pattern"] = schema["pattern"].replace("(?i)", "")  # Go's; ECMAScript has none
    if schema.get("x-kubernetes-int-or-string"):
        closed["type"] = ["integer", "string"]
    if "properties" in schema:
        closed["properties"] = {name: _closed(part) for name, part in schema["properties"].items()}
        if "type" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            closed.setdefault("additionalProperties", False)
    return closed


@cache
def _downloaded(module: str) -> Path:
    """Returns the folder of a Go module. Downloads it once, and checks its sum as Go does."""
    require(GO)
    code, said = run(("go", "mod", "download", "-json", module), ROOT / "tools")
    if code != 0:
        pytest.fail(f"{module}: {said}")
    return Path(json.loads(said)["Dir"])
