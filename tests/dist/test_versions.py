"""All artefacts have one version, that of pyproject.toml."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
import yaml

import tokengrpc
from tests.support.paths import ROOT
from tests.support.versions import VERSION

if TYPE_CHECKING:
    from pathlib import Path

PACKAGES = sorted([ROOT / "generated/typescript/package.json", ROOT / "clients/typescript/package.json"])
MODULES = sorted([ROOT / "generated/go/go.mod", ROOT / "clients/go/go.mod"])
POMS = sorted([ROOT / "generated/java/pom.xml", *ROOT.glob("clients/java/**/pom.xml")])
MAVEN = {"": "http://maven.apache.org/POM/4.0.0"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_installed_package_has_the_version() -> None:
    """If not: install the checkout again."""
    assert tokengrpc.__version__ == VERSION


@pytest.mark.parametrize("path", PACKAGES, ids=name_of)
def test_npm_packages_have_the_version(path: Path) -> None:
    """Each package.json, and what it needs of ours."""
    package = json.loads(path.read_text(encoding="utf-8"))
    assert package["version"] == VERSION
    ours = {
        name: of for name, of in package.get("dependencies", {}).items() if name.startswith("@tokengrpc/")
    }
    assert [of for of in ours.values() if of != VERSION and not of.startswith("file:")] == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_go_modules_need_each_other_in_the_version(path: Path) -> None:
    """Their own version is that of their tag."""
    needed = re.findall(r"^\s*(?:require )?github\.com/tokengrpc/\S+ (v\S+)", path.read_text(), re.MULTILINE)
    assert set(needed) <= {f"v{VERSION}"}


@pytest.mark.parametrize("path", POMS, ids=name_of)
def test_maven_projects_have_the_version(path: Path) -> None:
    """The project itself, and what it needs of ours."""
    project = ET.parse(path).getroot()
    ours = [e for e in project.iter() if e.findtext("groupId", "", MAVEN) == "io.tokengrpc"]
    versions = {e.findtext("version", "", MAVEN) for e in ours}
    assert versions - {"${project.version}"} == {VERSION}


def test_the_chart_has_the_version() -> None:
    """Its own, and that of the image that it runs."""
    chart = yaml.safe_load((ROOT / "deploy/helm/tokengrpc/Chart.yaml").read_text("utf-8"))
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)
