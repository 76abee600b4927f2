"""docs/deploy.md: what it shows can be pasted."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.support.commands import PROGRAM
from tests.support.helm import CHART, KUSTOMIZE, rendered
from tests.support.kubernetes_schemas import NEWEST, objects, problems
from tests.support.paths import ROOT
from tests.support.pods import pod
from tests.support.toolchains import BUILD_TIMEOUT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(BUILD_TIMEOUT + 120)

TEXT = (ROOT / "docs/deploy.md").read_text("utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
VALUES = [block for block in BLOCKS if block.startswith("# values.yaml\n")]
SIDECAR = next(block for block in BLOCKS if "initContainers" in block)


def test_the_page_has_at_most_260_lines():
    """As all pages of docs/."""
    assert len(TEXT.splitlines()) <= 260


@pytest.mark.parametrize("values", VALUES)
def test_values_of_the_page_render(values: str, tmp_path: Path):
    """With those of the first section, Kubernetes accepts all objects."""
    file = tmp_path / "values.yaml"
    file.write_text(values)
    found = rendered(CHART / "ci/smallest-values.yaml", file)
    assert [text for one in found for text in problems(one, NEWEST)] == []


def test_names_of_the_page_exist():
    """Values in its text are those of the chart, and overlays those of kustomize."""
    known = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    groups = "|".join(name for name, value in known.items() if isinstance(value, dict) and name != "config")
    paths = re.findall(rf"`((?:{groups})\.[\w.]+)", TEXT)
    assert len(paths) > 10
    for path in paths:
        value = known
        for name in path.split("."):
            value = value[name]
    for overlay in re.findall(r"deploy/kustomize/([\w/]+)", TEXT):
        assert (KUSTOMIZE / overlay / "kustomization.yaml").exists()


def test_the_sidecar_of_the_page_serves():
    """It starts without consent, its probes succeed, and it has only the ports that it shows."""
    (found,) = objects(SIDECAR)
    assert list(problems(found, NEWEST)) == []
    sidecar = found["spec"]["initContainers"][0]
    arguments = [argument.replace("http://vllm:8000", "http://127.0.0.1:1") for argument in sidecar["args"]]
    container = sidecar | {"args": arguments, "volumeMounts": []}
    of_image = {"TOKENGRPC_LISTEN": "0.0.0.0:50051", "TOKENGRPC_ADMIN_LISTEN": "0.0.0.0:9090"}
    with pod(container, {}, **of_image) as server:
        assert server.started().probe("liveness") == 0
        assert server.inside(*PROGRAM, "models").returncode == 0
        assert "9090" not in server.log()
