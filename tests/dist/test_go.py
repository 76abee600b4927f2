"""The Go modules: a project outside the checkout depends on them and streams from a real server.

Its programs are those of the client's README.
"""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Final
from zipfile import ZipFile

import pytest

from tests.support.commands import serving
from tests.support.paths import ROOT
from tests.support.toolchains import BUILD_TIMEOUT, GO, for_building, ran, require

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.commands import Server

MODULE: Final = "github.com/tokengrpc/tokengrpc/clients/go"
STUBS: Final = "github.com/tokengrpc/tokengrpc/generated/go"
README: Final = ROOT / "clients/go/README.md"
# What the README's programs print after the answer, in their order.
PRINTED: Final = {"stream": r"\n[1-9]\d* tokens, FINISH_REASON_(END|MAX_TOKENS)\n", "detach": ""}
PROMPT: Final = "What is token streaming?"
# So that another generation has the same text.
ALWAYS_THE_SAME: Final = "Input: prompt, Sampling: &pb.Sampling{Temperature: new(float64)}"


@pytest.fixture(scope="module")
def tree(dist: Callable[[str], Path]) -> Path:
    require(GO)
    return dist("go") / "go"


def go(*arguments: str, folder: Path, **variables: str) -> str:
    """Runs `go`. Returns its output."""
    environment = for_building() | variables
    return ran("go", *arguments, folder=folder, environment=environment, timeout=BUILD_TIMEOUT).stdout


def project(folder: Path, target: str) -> None:
    """Writes the programs of the client's README into an empty project."""
    shown = re.findall(r"^```go\n(.*?)^```$", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    programs = (text for text in shown if text.startswith("package main\n"))
    for name, program in zip(PRINTED, programs, strict=True):
        (folder / name).mkdir(parents=True)
        text = program.replace("127.0.0.1:50051", target).replace("Input: prompt", ALWAYS_THE_SAME)
        (folder / name / "main.go").write_text(text, encoding="utf-8")
    go("mod", "init", "example.com/app", folder=folder)


def check_it_streams(folder: Path, server: Server) -> None:
    """The programs write the whole answer; one of them leaves and resumes it."""
    answer = server("stream", PROMPT, "--temperature", "0").stdout.rstrip("\n")
    for name, summary in PRINTED.items():
        done = ran(folder / "bin" / name, folder=folder)
        assert done.stderr == ""
        assert re.fullmatch(re.escape(answer) + summary, done.stdout)


@pytest.mark.timeout(2 * BUILD_TIMEOUT)
def test_a_project_depends_on_the_modules_of_a_release(tree: Path, tmp_path: Path) -> None:
    """`go get` takes them from the tree, and everything else from where it usually comes from."""
    usual = go("env", "GOPROXY", folder=tmp_path).strip()
    modules = {
        "GOPROXY": f"file://{tree},{usual}",
        "GONOSUMDB": "github.com/tokengrpc/*",
        "GOFLAGS": "-mod=mod -modcacherw",
        # Of its own, because the usual one may have other modules under the same version.
        "GOMODCACHE": str(tmp_path / "modules"),
    }
    folder = tmp_path / "app"
    with serving("--pace", "200") as server:
        project(folder, server.target)
        go("get", f"{MODULE}@latest", f"{STUBS}@latest", folder=folder, **modules)
        go("build", "-o", "bin/", "./...", folder=folder, **modules)
        check_it_streams(folder, server)


@pytest.mark.timeout(2 * BUILD_TIMEOUT)
def test_a_project_depends_on_a_checkout(tmp_path: Path) -> None:
    """A workspace with the two folders, as the client's README shows."""
    require(GO)
    folder = tmp_path / "app"
    with serving("--pace", "200") as server:
        project(folder, server.target)
        go("work", "init", ".", str(ROOT / "clients/go"), str(ROOT / "generated/go"), folder=folder)
        go("build", "-o", "bin/", "./...", folder=folder)
        check_it_streams(folder, server)


def test_the_tree_has_no_files_that_are_not_tracked(tree: Path) -> None:
    """Builds of the checkout, such as clients/go/target, are left out; the license is in."""
    (packed,) = tree.glob(f"{MODULE}/@v/*.zip")
    with ZipFile(packed) as archive:
        names = {name.partition("@")[2].partition("/")[2] for name in archive.namelist()}
    listed = ["git", "ls-files", "clients/go"]
    tracked = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert names == {name.removeprefix("clients/go/") for name in tracked} | {"LICENSE"}
