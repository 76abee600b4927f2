"""The files of the image, built as deploy/Containerfile says but without a container engine."""

from __future__ import annotations

import json
import re
import stat
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from tests.support.containers import wait_until_ready
from tests.support.image import INSECURE
from tests.support.paths import ROOT
from tests.support.toolchains import build

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.containers import Container
    from tests.support.image import Image

pytestmark = pytest.mark.timeout(900)

# What an attacker would look for. `ld` is a name of the dynamic linker's as well.
TOOLS = re.compile(
    r"(ba|da|z)?sh|busybox|apt.*|dpkg.*|pip[\d.]*|gcc.*|g\+\+.*|cc|as|make|perl.*|curl|wget|tar|git"
)
# Prints the files that a process may change, and the packages of Python.
LOOK = """
import os
from importlib.metadata import distributions
folders = [path for path, _, _ in os.walk("/") if not path.startswith(("/proc", "/sys", "/dev"))]
files = [os.path.join(path, name) for path in folders for name in os.listdir(path)]
print([name for name in files if os.path.isfile(name) and os.access(name, os.W_OK)])
print("\\n".join(sorted(f"{found.name}=={found.version}" for found in distributions())))
"""
MIB = 1 << 20


def files(root: Path) -> Iterator[Path]:
    """Yields all files, without links."""
    return (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@contextmanager
def on_a_writable_root(image: Image) -> Iterator[Container]:
    """Starts a container whose files only permissions protect."""
    with image.start(read_only=False, temporary=(), environment=INSECURE) as container:
        wait_until_ready(container)
        yield container


def look(container: Container) -> tuple[str, dict[str, str]]:
    """Returns the files that the container's user may change, and the versions of its packages."""
    files, *packages = container.execute("/opt/tokengrpc/bin/python3", "-c", LOOK).stdout.splitlines()
    return files, dict(line.split("==") for line in packages)


def test_it_has_no_tools_and_no_setuid_files(built: Image) -> None:
    """No shell, no package manager, no compiler: only Python and the libraries that it needs."""
    programs = {path.name for folder in ("bin", "sbin") for path in (built.root / "usr" / folder).iterdir()}
    assert programs >= {"python3"}
    assert [name for name in programs if TOOLS.fullmatch(name)] == []
    assert [
        path
        for path in built.root.rglob("*")
        if path.name in {"pip", "ensurepip"} and list(path.rglob("*.whl"))
    ] == []
    assert [path for path in built.root.rglob("pip") if (path / "__main__.py").exists()] == []
    assert [path for path in files(built.root) if path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID)] == []


def test_its_user_changes_only_data_and_temporary_files(built: Image) -> None:
    """On a writable root, it still cannot change its code. Packages have the checked versions."""
    with on_a_writable_root(built) as container:
        writable, packages = look(container)
        folders = container.writable_folders()
    assert folders == ["/home/nonroot", "/tmp", "/var/lib/tokengrpc", "/var/lock", "/var/tmp"]
    assert writable == "[]"
    constraints = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    )
    checked = {normalized(name): version for name, version in constraints.items()}
    own = {packages.pop(name) for name in ("tokengrpc", "tokengrpc-server")}
    assert own == {built.config.labels["org.opencontainers.image.version"]}
    assert {name: checked[normalized(name)] for name in packages} == packages


def test_it_is_started_from_bytecode(built: Image) -> None:
    """Python has nothing to compile, which it would do again at each start and each health check."""
    with built.start(environment=INSECURE) as container:
        wait_until_ready(container)
        done = container.execute("/opt/tokengrpc/bin/python3", "-v", "-m", "tokengrpc", "--version")
    loaded = re.findall(r"# code object from '?(.*?)'?$", done.stderr, re.MULTILINE)
    assert len(loaded) > 100
    assert [path for path in loaded if not path.endswith(".pyc")] == []


def test_the_wheels_are_the_published_ones(built: Image) -> None:
    """The builder makes the same bytes as `make dist`."""
    build(("make", "--no-print-directory", "dist-python"), folder=ROOT)
    (used,) = built.root.parent.glob("*-builder/build/dist")
    digests = [
        {path.name: sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.whl")}
        for folder in (ROOT / "dist/python", used)
    ]
    assert digests[0]
    assert digests[0] == digests[1]


def test_the_sbom_names_what_is_installed(built: Image) -> None:
    """tools/dist/sbom.sh writes it from the same constraints."""
    path = ROOT / "dist/sbom/python-tokengrpc-all.cdx.json"
    if not path.exists():
        pytest.skip("there is no SBOM: make dist-python, tools/dist/sbom.sh python")
    with on_a_writable_root(built) as container:
        _, packages = look(container)
    components = json.loads(path.read_text(encoding="utf-8"))["components"]
    listed = {normalized(component["name"]): component["version"] for component in components}
    listed["tokengrpc"] = packages["tokengrpc"]
    assert listed == {normalized(name): version for name, version in packages.items()}


def test_its_size(built: Image, capsys: pytest.CaptureFixture[str]) -> None:
    """Printed, and bounded so that an unexpected package is noticed."""
    parts = {name: sum(path.stat().st_size for path in files(built.root / name)) for name in ("opt", "usr")}
    with capsys.disabled():
        print("\nsize of the image:", {name: f"{size / MIB:.0f} MiB" for name, size in parts.items()})
    assert sum(parts.values()) < 300 * MIB
