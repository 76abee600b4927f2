"""The tests' own conventions: length of names, and folders that mirror the packages."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = ROOT / "tests"
MAX_NAME_LENGTH = 60

# Folders of tests that belong to no single package, and their subject.
OTHER_FOLDERS = {
    "browsers": "the page and the bridges of `examples/browser_bridge`, in Chromium",
    "deploy": "what `deploy/` has, with the real Helm, kustomize and Prometheus",
    "dist": "what `make dist` builds",
    "docs": "the documentation and the tests' conventions",
    "e2e": "whole processes, and all packages together",
    "fuzz": "the seeds of fuzzing",
    "interop": "the clients of all languages",
    "real_engines": "real engines, which `make engines` installs",
    "ports": "every implementation of each port in tokengrpc/core/ports",
}
# Folders within those of other tests.
PARTS = {"e2e/stores", "generations/stateful"}


def names_of_tests(source: str) -> Iterator[str]:
    """Yields the names of all test functions and methods."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node.name


def test_methods_and_coroutines_are_found_as_well():
    """The check covers functions, methods and coroutines."""
    source = "class TestA:\n    async def test_b(self): ...\n\ndef test_c(): ...\ndef other(): ...\n"
    assert sorted(names_of_tests(source)) == ["test_b", "test_c"]


def test_names_have_at_most_60_characters():
    """Longer names do not fit into one line of pytest's summary."""
    files = sorted(TESTS.glob("**/test_*.py"))
    assert len(files) > 50
    names = [(file, name) for file in files for name in names_of_tests(file.read_text(encoding="utf-8"))]
    assert [f"{file.name}: {name}" for file, name in names if len(name) > MAX_NAME_LENGTH] == []


def private_names(source: str) -> Iterator[str]:
    """Yields the private names that a module imports or sets by `setattr`; ruff's SLF001 finds the others."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            yield from (alias.name for alias in node.names if alias.name.startswith("_"))
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "setattr":
            texts = [
                part.value
                for part in node.args[:2]
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
            ]
            yield from (text for text in texts if "._" in text or text.startswith("_"))


def test_private_names_are_found():
    """Imported, set on an object, and set by a dotted name."""
    source = 'from a import _b, c\nm.setattr(a, "_d", 1)\nm.setattr("a._e", 1)\nm.setattr(a, "f", "_g")\n'
    assert list(private_names(source)) == ["_b", "_d", "a._e"]


def test_no_private_name_is_imported_or_replaced():
    """Tests use what is public."""
    used = {
        f"{file.relative_to(ROOT)}: {name}"
        for folder in ("tests", "attack", "bench", "fuzz", "soak")
        for file in (ROOT / folder).glob("**/*.py")
        for name in private_names(file.read_text(encoding="utf-8"))
    }
    assert used == set()


def test_folders_mirror_the_packages():
    """Tests of a package are in the folder of the same name."""
    folders = {str(file.parent.relative_to(TESTS)) for file in TESTS.glob("**/test_*.py")}
    unknown = {folder for folder in folders if not (ROOT / "tokengrpc" / folder / "__init__.py").exists()}
    assert unknown == OTHER_FOLDERS.keys() | PARTS
