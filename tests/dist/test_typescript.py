"""The npm package: a project outside the checkout installs it, type-checks the README, and streams."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import serving
from tests.support.paths import ROOT
from tests.support.toolchains import BUILD_TIMEOUT, NODE, for_building, for_running, ran, require

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.timeout(2 * BUILD_TIMEOUT)

CLIENT = ROOT / "clients/typescript"
SHOWN_TARGET = "127.0.0.1:50051"
# The engine ends where it likes, or is cut at its limit.
ANSWER = r"(?s:Token streaming is .+)"
# What the README's programs print, in their order.
PRINTED = {"stream": rf"{ANSWER}\n[1-9]\d* tokens, (END|MAX_TOKENS)\n", "detach": ANSWER}
SHOWN = re.findall(r"```ts\n(.*?)```", (CLIENT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
# Shorter pieces import nothing.
PROGRAMS = [shown for shown in SHOWN if shown.startswith("import ")]
CASES = list(zip(PRINTED, PROGRAMS, strict=True))
INSTALL = ("npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--save-exact")
COMPILE = ("npx", "--no-install", "tsc", "--strict", "--module", "nodenext", "--target", "es2022")
REQUIRING = """
const { Cursor } = require("@tokengrpc/client");
const { FinishReason } = require("@tokengrpc/client/stubs");
console.log(String(new Cursor("chat-7")), FinishReason.END);
"""


def run(*command: str | Path, folder: Path) -> str:
    """Runs a program that must succeed. Returns its output."""
    environment = for_running() if command[0] == "node" else for_building()
    return ran(*command, folder=folder, environment=environment, timeout=BUILD_TIMEOUT).stdout


@pytest.fixture(scope="module")
def project(dist: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has the package, and what type-checking needs."""
    require(NODE)
    (package,) = (dist("typescript") / "npm").glob("*.tgz")
    folder = tmp_path_factory.mktemp("project")
    (folder / "package.json").write_text('{"private": true, "type": "module"}', encoding="utf-8")
    run(*INSTALL, package, folder=folder)
    wanted = json.loads((CLIENT / "package.json").read_text(encoding="utf-8"))["devDependencies"]
    run(*INSTALL, *(f"{name}@{version}" for name, version in wanted.items()), folder=folder)
    return folder


def test_the_package_needs_no_other_of_ours(project: Path) -> None:
    """The stubs are inside; tests, the driver and build scripts are not."""
    ours = project / "node_modules/@tokengrpc"
    assert [path.name for path in ours.iterdir()] == ["client"]
    files = {path.relative_to(ours / "client").as_posix() for path in ours.rglob("*") if path.is_file()}
    assert {"LICENSE", "README.md", "package.json", "dist/index.d.ts", "dist/stubs/index.d.ts"} <= files
    assert not [name for name in files if "interop" in name or "tests/" in name or name.endswith(".map")]
    manifest = json.loads((ours / "client/package.json").read_text(encoding="utf-8"))
    assert not {"scripts", "devDependencies"} & manifest.keys()
    assert not [version for version in manifest["dependencies"].values() if ":" in version]


@pytest.mark.parametrize(("name", "program"), CASES, ids=PRINTED)
def test_a_program_of_the_readme_streams(name: str, program: str, project: Path) -> None:
    """It compiles with all checks, and prints the whole answer of a real server."""
    with serving("--engine", "builtin", "--pace", "200") as server:
        assert SHOWN_TARGET in program
        (project / f"{name}.ts").write_text(program.replace(SHOWN_TARGET, server.target), encoding="utf-8")
        run(*COMPILE, f"{name}.ts", folder=project)
        printed = run("node", f"{name}.js", folder=project)
    assert re.fullmatch(PRINTED[name], printed)


def test_a_commonjs_program_requires_it(project: Path) -> None:
    """From Node 20.19 on."""
    if run("node", "-p", "process.features.require_module === true", folder=project) != "true\n":
        pytest.skip("this version of Node cannot require an ES module")
    (project / "requiring.cjs").write_text(REQUIRING, encoding="utf-8")
    assert run("node", "requiring.cjs", folder=project) == "tg1.0...chat-7 1\n"
