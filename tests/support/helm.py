"""Renders the chart and the kustomize files with the real programs."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any, Final

import yaml

from tests.support.kubernetes_schemas import objects
from tests.support.paths import ROOT
from tests.support.toolchains import for_running, go_program, ran

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHART: Final = ROOT / "deploy/helm/tokengrpc"
KUSTOMIZE: Final = ROOT / "deploy/kustomize"
CASES: Final = sorted((CHART / "ci").glob("*-values.yaml"))
"""Values that people set, a file for each way to deploy."""

Manifest = dict[str, Any]
"""A Kubernetes object."""


def rendered(*values: Path | str) -> list[Manifest]:
    """Returns the objects of the chart. `values` are files, or settings such as `replicaCount=2`."""
    done = template(*values)
    assert done.returncode == 0, done.stderr
    return objects(done.stdout)


def template(*values: Path | str, chart: Path = CHART) -> subprocess.CompletedProcess[str]:
    """Runs `helm template`."""
    return _helm("template", *_options(values), chart=chart)


def notes(*values: Path | str) -> str:
    """Returns what `helm install` tells a person."""
    done = _helm("install", "--dry-run=client", *_options(values))
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:\n")[2]


def _options(values: tuple[Path | str, ...]) -> Iterator[str]:
    for value in values:
        yield from ("--set-json", value) if isinstance(value, str) else ("--values", str(value))


def _helm(command: str, *options: str, chart: Path = CHART) -> subprocess.CompletedProcess[str]:
    """Runs a command of Helm for a release `demo` in the namespace `llm`. Settings are typed as in JSON."""
    return subprocess.run(
        [go_program("helm"), command, "demo", chart, "--namespace=llm", *options],
        env=for_running(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def built(folder: str) -> list[Manifest]:
    """Returns the objects of a folder of deploy/kustomize."""
    return objects(ran(go_program("kustomize"), "build", KUSTOMIZE / folder, folder=ROOT).stdout)


def the(found: list[Manifest], kind: str, name: str = "") -> Manifest:
    """Returns the only object of a kind, or the one of a name."""
    (one,) = [o for o in found if o["kind"] == kind and name in {"", o["metadata"]["name"]}]
    return one


def container(found: list[Manifest]) -> Manifest:
    """Returns the server's container."""
    pod = the(found, "Deployment")["spec"]["template"]["spec"]
    return next(c for c in pod["containers"] if c["name"] == "tokengrpc")


def settings_of(found: list[Manifest]) -> str:
    """Returns the text of the server's settings file."""
    volumes = the(found, "Deployment")["spec"]["template"]["spec"]["volumes"]
    (name,) = [volume["configMap"]["name"] for volume in volumes if volume["name"] == "config"]
    return str(the(found, "ConfigMap", name)["data"]["tokengrpc.toml"])


def leaves(values: Any, schema: Any = None, path: str = "") -> dict[str, Any]:
    """Returns the values of a file by their paths, such as `image.tag`.

    A map that the chart's schema closes is no value itself.
    """
    known = json.loads((CHART / "values.schema.json").read_text("utf-8")) if schema is None else schema
    if "properties" not in known:
        return {path: values}
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= leaves(value, known["properties"][key], f"{path}.{key}" if path else key)
    return found


def defaults() -> dict[str, Any]:
    """Returns the chart's own values."""
    return leaves(yaml.safe_load((CHART / "values.yaml").read_text("utf-8")))
