"""The wheel and the sdist: what they hold, and what each extra brings into an empty environment."""

from __future__ import annotations

import base64
import csv
import hashlib
import re
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from zipfile import ZipFile

import pytest

from tests.support.commands import serving, tokengrpc
from tests.support.paths import ROOT
from tests.support.toolchains import for_building, ran

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PACKED = ("tokengrpc", "generated/python", "protos", "third_party", "CHANGELOG.md", "LICENSE", "README.md")
METADATA = {"PKG-INFO", "pyproject.toml", ".gitignore"}
CLIENT = """
import sys
from tokengrpc import SyncTokenStreamClient
with SyncTokenStreamClient(sys.argv[1]) as client:
    for token in client.stream("What is token streaming?", max_tokens=8):
        print(token.text, end="")
"""
# Imports all modules. Prints those that cannot be imported.
ALL_MODULES = """
import importlib, pkgutil, tokengrpc
for module in pkgutil.walk_packages(tokengrpc.__path__, "tokengrpc."):
    try:
        importlib.import_module(module.name)
    except ImportError as error:
        print(f"{module.name}: {error}")
"""
# Three installations side by side compile some thousand modules each.
_INSTALL_LIMIT = 300
pytestmark = pytest.mark.timeout(2 * _INSTALL_LIMIT)
EXTRAS = ("", "cli", "server")
MOST_MEGABYTES = 30
NEEDS_SERVER = r"needs .*: pip install 'tokengrpc\[server\]'"
OPTIONAL = ("tokengrpc.identity.jwt.", "tokengrpc.stores.redis", "tokengrpc.telemetry.otel.")
"""Where the modules are that need a further extra."""
STREAM = ("stream", "What is token streaming?", "--max-tokens", "8")


def run(*command: str | Path) -> str:
    """Runs a program outside the checkout's own package. Returns its output."""
    return ran(*command, folder=ROOT, environment=for_building(), timeout=_INSTALL_LIMIT).stdout


@pytest.fixture(scope="module")
def wheel(dist: Callable[[str], Path]) -> Path:
    """The client's."""
    (path,) = (dist("python") / "python").glob("tokengrpc-*.whl")
    return path


@pytest.fixture(scope="module")
def server_wheel(wheel: Path) -> Path:
    return wheel.with_name(wheel.name.replace("tokengrpc", "tokengrpc_server"))


@pytest.fixture(scope="module")
def sdist(dist: Callable[[str], Path]) -> Path:
    (path,) = (dist("python") / "python").glob("*.tar.gz")
    return path


@pytest.fixture(scope="module")
def environments(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Environments without pip, into which the client was installed with an extra, or with none."""

    def install(extra: str) -> Path:
        environment = folder / (extra or "client")
        run(sys.executable, "-m", "venv", "--without-pip", environment)
        pip = (sys.executable, "-m", "pip", "--python", environment / "bin/python", "install", "--quiet")
        sources = ("--constraint", "constraints.txt", "--find-links", wheel.parent)
        run(*pip, *sources, f"{wheel}[{extra}]" if extra else wheel)
        return environment

    folder = tmp_path_factory.mktemp("environments")
    # pip mostly waits for the registry.
    with ThreadPoolExecutor() as pool:
        return dict(zip(EXTRAS, pool.map(install, EXTRAS), strict=True))


@pytest.fixture
def client_alone(environments: dict[str, Path]) -> Path:
    return environments[""]


def test_the_client_alone_streams(client_alone: Path, tmp_path: Path) -> None:
    """Without extras, a program streams from a real server."""
    with serving("--pace", "0") as server:
        done = ran(client_alone / "bin/python", "-c", CLIENT, server.target, folder=tmp_path)
    assert done.stderr == ""
    assert done.stdout.strip()


def test_the_client_alone_is_small(client_alone: Path) -> None:
    """The client and all that it needs, compiled files included, stay below 30 MB."""
    (site,) = client_alone.glob("lib/python*/site-packages")
    sizes = {
        path.name: sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) for path in site.iterdir()
    }
    megabytes = sum(sizes.values()) / 1e6
    largest = sorted(sizes, key=sizes.__getitem__, reverse=True)[:4]
    print(f"{megabytes:.1f} MB:", *(f"{name} {sizes[name] / 1e6:.1f}" for name in largest))
    assert megabytes < MOST_MEGABYTES


def test_a_missing_extra_is_one_line(client_alone: Path) -> None:
    """The command, the plugin API and the test API say which extra to install."""
    done = tokengrpc("models", program=[str(client_alone / "bin/tokengrpc")])
    assert done.returncode == 1
    assert re.fullmatch(r"error: the command line needs .*: pip install 'tokengrpc\[cli\]'\n", done.stderr)
    assert re.fullmatch(f"the server {NEEDS_SERVER}", import_error(client_alone, "tokengrpc.interfaces"))
    assert re.fullmatch(f"tokengrpc.testing {NEEDS_SERVER}", import_error(client_alone, "tokengrpc.testing"))


def import_error(environment: Path, module: str) -> str:
    """Imports a module, whose extra is missing. Returns the error's message, which is one line."""
    failed = subprocess.run(
        [environment / "bin/python", "-c", f"import {module}"],
        cwd=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    kind, _, message = failed.stderr.splitlines()[-1].partition(": ")
    assert kind.endswith("MissingExtraError")
    return message


def test_the_extra_cli_has_all_commands_but_the_server(environments: dict[str, Path]) -> None:
    """`serve` says which extra it needs; the help lists it."""
    program = [str(environments["cli"] / "bin/tokengrpc")]
    with serving("--pace", "0") as server:
        for command in (STREAM, ("models",), ("probe",)):
            done = tokengrpc(*command, program=program, TOKENGRPC_TARGET=server.target)
            assert done.returncode == 0, done.stderr
            assert done.stdout.strip()
    for arguments in (["serve", "--engine", "builtin"], ["serve", "--help"], ["config"]):
        done = tokengrpc(*arguments, program=program)
        assert (done.returncode, done.stdout) == (1, "")
        assert re.fullmatch(
            rf"error: `tokengrpc {arguments[0]}` needs .*: pip install 'tokengrpc\[server\]'\n", done.stderr
        )
    listed = tokengrpc("--help", program=program)
    assert listed.returncode == 0
    assert " serve " in listed.stdout


def test_a_server_of_another_version_is_one_line(environments: dict[str, Path]) -> None:
    """Where only `tokengrpc` was upgraded."""
    program = [str(environments["server"] / "bin/tokengrpc")]
    (place,) = environments["server"].glob("lib/python*/site-packages/tokengrpc_server-*.dist-info")
    metadata = place / "METADATA"
    right = metadata.read_text()
    metadata.write_text(right.replace("\nVersion: ", "\nVersion: 9."))
    done = tokengrpc("serve", program=program)
    metadata.write_text(right)
    assert (done.returncode, done.stdout) == (1, "")
    expected = r"error: `tokengrpc serve` needs tokengrpc-server: pip install 'tokengrpc\[server\]'\n"
    assert re.fullmatch(expected, done.stderr)


def test_exporting_without_its_extra_is_one_line(environments: dict[str, Path]) -> None:
    """The setting is named, and what to install."""
    program = [str(environments["server"] / "bin/tokengrpc")]
    done = tokengrpc("serve", "--listen", "127.0.0.1:0", "--otlp", "true", program=program)
    assert (done.returncode, done.stdout) == (2, "")
    expected = r"error: otlp: needs opentelemetry-.*: pip install 'tokengrpc\[otel\]'\n"
    assert re.fullmatch(expected, done.stderr)


def test_tokens_without_their_extra_are_one_line(environments: dict[str, Path]) -> None:
    """The setting is named, and what to install."""
    program = [str(environments["server"] / "bin/tokengrpc")]
    done = tokengrpc("serve", "--listen", "127.0.0.1:0", "--authenticator", "jwt", program=program)
    assert (done.returncode, done.stdout) == (2, "")
    expected = r"error: authenticator: jwt needs aiohttp, joserfc: pip install 'tokengrpc\[jwt\]'\n"
    assert re.fullmatch(expected, done.stderr)


def test_the_extra_server_serves(environments: dict[str, Path]) -> None:
    """It has the command line too. No module needs more, but a fixture for pytest, and traces."""
    missing = run(environments["server"] / "bin/python", "-P", "-c", ALL_MODULES)
    others = {line for line in missing.splitlines() if not line.startswith(OPTIONAL)}
    assert others == {"tokengrpc.testing.fixtures: No module named 'pytest'"}
    program = [str(environments["server"] / "bin/tokengrpc")]
    with serving("--pace", "0", program=program) as server:
        done = server(*STREAM, program=program)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()
        assert server.stop() == 0


def test_the_sdist_holds_the_sources_and_nothing_else(sdist: Path) -> None:
    """Its files are those of the repository that the wheel is built from."""
    tracked = set(run("git", "ls-files", *PACKED).splitlines())
    with tarfile.open(sdist) as archive:
        packed = {member.name.partition("/")[2] for member in archive.getmembers()}
    assert packed - METADATA == tracked


def names(wheel: Path) -> set[str]:
    """Returns the names of a wheel's files, without those of its metadata."""
    with ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_the_wheels_hold_the_package_and_all_stubs(wheel: Path, server_wheel: Path) -> None:
    """Each file is in one of them, and none in both. The client's has what it imports."""
    client, server = names(wheel), names(server_wheel)
    tracked = run("git", "ls-files", "tokengrpc", "generated/python").splitlines()
    assert client & server == set()
    assert client | server == {name.removeprefix("generated/python/") for name in tracked}
    assert {name.partition("/")[0] for name in client} == {"tokengrpc", "tokenstreaming"}
    assert {"tokengrpc/py.typed", "tokenstreaming/py.typed"} <= client


@pytest.mark.parametrize("name", ["wheel", "server_wheel"])
def test_the_record_of_a_wheel_is_right(name: str, request: pytest.FixtureRequest) -> None:
    """Installing checks no digest, so a wrong one would be noticed later."""
    with ZipFile(request.getfixturevalue(name)) as archive:
        (path,) = (name for name in archive.namelist() if name.endswith("/RECORD"))
        recorded = {row[0]: row[1:] for row in csv.reader(archive.read(path).decode().splitlines())}
        assert recorded.pop(path) == ["", ""]
        assert recorded == {
            name: [f"sha256={in_base64(archive.read(name))}", str(archive.getinfo(name).file_size)]
            for name in archive.namelist()
            if name != path
        }


def in_base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")


def test_the_whole_package_from_the_sdist_is_one(sdist: Path, tmp_path: Path) -> None:
    """As from a checkout: its extras do not ask for `tokengrpc-server`, which it has inside."""
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        tmp_path,
        sdist,
    )
    (whole,) = tmp_path.iterdir()
    with ZipFile(whole) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        assert "tokengrpc-server" not in archive.read(name).decode().partition("\n\n")[0]
    assert "tokengrpc/server.py" in names(whole)


def test_another_build_gives_the_same_bytes(
    wheel: Path, server_wheel: Path, sdist: Path, tmp_path: Path
) -> None:
    """From the sources and from the sdist. `make dist` built the wheels from the sdist."""
    run(sys.executable, "-m", "build", "--no-isolation", "--sdist", "--wheel", "--outdir", tmp_path)
    (whole,) = tmp_path.glob("*.whl")
    (split := tmp_path / "split").mkdir()
    run(sys.executable, "tools/dist/split_wheel.py", whole, split)
    for path in (wheel, server_wheel):
        assert digest(split / path.name) == digest(path), path.name
    assert digest(tmp_path / sdist.name) == digest(sdist)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_links_of_the_readme_work_on_a_package_page(wheel: Path) -> None:
    """They are absolute, or lead to a heading of the page."""
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        targets = re.findall(r"\]\(([^)]+)\)", archive.read(name).decode())
    assert len(targets) > 20
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []
