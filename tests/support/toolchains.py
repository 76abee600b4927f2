"""The toolchains of other languages: required versions, checks for them, and builds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

# Set by .ci/run: a missing toolchain fails the tests that need it, instead of skipping them.
REQUIRE_ALL: Final = os.environ.get("TOKENGRPC_REQUIRE_ALL") == "1"
# Seconds. A first build downloads dependencies from the language's package registry.
BUILD_TIMEOUT: Final = 600
_OF_MAKE = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"}


@dataclass(frozen=True, kw_only=True)
class Toolchain:
    """Programs, and the minimum version of the last one."""

    name: str
    programs: tuple[str, ...]
    tells_version: tuple[str, ...]
    least: tuple[int, ...]

    @property
    def missing(self) -> str:
        """Why the toolchain cannot be used on this machine. Empty if it can."""
        return _missing(self)


GO: Final = Toolchain(name="Go", programs=("go",), tells_version=("go", "env", "GOVERSION"), least=(1, 26))
GO_WITH_RACES: Final = Toolchain(
    name="Go with a C compiler", programs=("go", "gcc"), tells_version=GO.tells_version, least=GO.least
)
JAVA: Final = Toolchain(
    name="Java", programs=("java", "javac", "mvn"), tells_version=("javac", "-version"), least=(17,)
)
NODE: Final = Toolchain(
    name="Node", programs=("node", "npm"), tells_version=("node", "--version"), least=(20, 15)
)
RUST: Final = Toolchain(
    name="Rust", programs=("rustc", "cargo"), tells_version=("cargo", "--version"), least=(1, 88)
)
PROTOC: Final = Toolchain(
    name="protoc with the C++ plugin of gRPC",
    programs=("protoc", "grpc_cpp_plugin"),
    tells_version=("protoc", "--version"),
    least=(3, 21),
)
CPP: Final = Toolchain(
    name="gRPC for C++",
    programs=(*PROTOC.programs, "pkg-config", "g++"),
    tells_version=("pkg-config", "--modversion", "grpc++"),
    least=(1, 51),
)
RUBY: Final = Toolchain(
    name="gRPC for Ruby",
    programs=("protoc", "grpc_ruby_plugin", "ruby"),
    tells_version=("ruby", "-e", "require 'grpc'; puts GRPC::VERSION"),
    least=(1, 51),
)


@cache
def _missing(toolchain: Toolchain) -> str:
    needed = f"{toolchain.name} {'.'.join(map(str, toolchain.least))} or newer is needed"
    absent = [program for program in toolchain.programs if shutil.which(program) is None]
    if absent:
        return f"{needed}: {', '.join(absent)} not found"
    # Beside our newest go.mod, because Go switches to the toolchain that it names, if it may download it.
    told = subprocess.run(
        toolchain.tells_version,
        cwd=ROOT / "tools",
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT,
        check=False,
    )
    said = (told.stdout + told.stderr).strip()
    version = re.search(r"\d+(\.\d+)*", said)
    if told.returncode or version is None:
        return f"{needed}: {' '.join(toolchain.tells_version)} says {said!r}"
    found = tuple(map(int, version[0].split(".")))
    return "" if found >= toolchain.least else f"{needed}: there is {version[0]}"


def require(toolchain: Toolchain) -> None:
    """Skips the test if the toolchain is missing, with the reason.

    Fails it if all toolchains are required.
    """
    if toolchain.missing:
        (pytest.fail if REQUIRE_ALL else pytest.skip)(toolchain.missing)


@cache
def run(command: tuple[str, ...], folder: Path) -> tuple[int | str, str]:
    """Runs a command once per test session.

    Returns its exit code, or the error that prevented the run, and its output.
    """
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=for_building(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=BUILD_TIMEOUT,
            check=False,
        )
    except (subprocess.TimeoutExpired, OSError) as error:
        return str(error), ""
    return done.returncode, done.stdout.decode(errors="replace")


def build(*commands: tuple[str, ...], folder: Path) -> None:
    """Runs the commands of a build once per test session. Fails the test if one of them fails."""
    for command in commands:
        code, said = run(command, folder)
        if code != 0:
            pytest.fail(f"{' '.join(command)}: {code}\n{said[-4_000:]}")


def ran(
    *command: str | Path, folder: Path, environment: dict[str, str] | None = None, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Runs a program that must succeed, by default in the environment of `for_running()`.

    Returns what it wrote.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment or for_running(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def go_program(name: str) -> Path:
    """Builds a program of another project at the version in tools/go.mod. Returns its path."""
    require(GO)
    path = ROOT / ".tools/bin" / name
    build(("make", "--no-print-directory", str(path.relative_to(ROOT))), folder=ROOT)
    return path


def for_building() -> dict[str, str]:
    """Returns the environment without the variables of a calling `make`. npm uses its cache where it can."""
    kept = {name: value for name, value in os.environ.items() if name not in _OF_MAKE}
    return kept | {"npm_config_prefer_offline": "true"}


def for_running(**variables: str) -> dict[str, str]:
    """Returns that environment plus `variables`.

    Without proxies, which gRPC would use for loopback as well.
    """
    return {k: v for k, v in for_building().items() if not k.lower().endswith("_proxy")} | variables
