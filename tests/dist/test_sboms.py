"""The SBOMs of the artefacts. `make dist-test` runs these tests: installing the tools takes minutes."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support.paths import ROOT
from tests.support.versions import VERSION

if TYPE_CHECKING:
    from pathlib import Path

# Each language, what its artefacts are called, and what all of them need.
LANGUAGES: Final = (
    ("python", {"tokengrpc"}, "grpcio"),
    (
        "go",
        {"github.com/tokengrpc/tokengrpc/clients/go", "github.com/tokengrpc/tokengrpc/generated/go"},
        "google.golang.org/grpc",
    ),
    ("java", {"tokengrpc-client", "tokenstreaming-v1"}, "grpc-stub"),
    ("typescript", {"client"}, "grpc-js"),
)


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(pytestconfig: pytest.Config) -> Path:
    """The folder `dist/`, after `make dist`."""
    if not pytestconfig.getoption("built_dist"):
        pytest.skip("building the SBOMs takes minutes: make dist-test")
    return ROOT / "dist"


@pytest.mark.parametrize(("language", "artefacts", "needed"), LANGUAGES)
def test_an_sbom_names_the_artefact_and_what_it_needs(
    folder: Path, language: str, artefacts: set[str], needed: str
) -> None:
    """Also with its version, which Go's modules get from a tag. It names no path of the machine."""
    paths = sorted(folder.glob(f"sbom/{language}-*.cdx.json"))
    contents = [read(path) for path in paths]
    described = [content["metadata"]["component"] for content in contents]
    assert {component["name"] for component in described} == artefacts
    if language != "go":
        assert {component["version"] for component in described} == {VERSION}
    for path, content in zip(paths, contents, strict=True):
        assert content["bomFormat"] == "CycloneDX"
        assert needed in {component["name"] for component in content["components"]}
        assert str(ROOT) not in path.read_text(encoding="utf-8")


def test_the_checksums_are_those_of_all_files(folder: Path) -> None:
    """Every file but the list itself stands in it."""
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    listed = {name: digest for digest, name in (line.split("  ") for line in lines)}
    built = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    del built["SHA256SUMS"]
    assert listed == {name: sha256(path.read_bytes()).hexdigest() for name, path in built.items()}
