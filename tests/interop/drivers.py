"""One line per language: what its driver needs, how it is built (once per session), how it is run."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT: Final = Path(__file__).parents[2]
# Seconds. A first build fetches what it needs from the language's package registry.
BUILD_TIMEOUT: Final = 600
RUN_TIMEOUT: Final = 60


@dataclass(frozen=True, kw_only=True)
class Driver:
    """How a language's driver is had. `needs` are programs; commands run in `folder`."""

    language: str
    folder: Path
    needs: tuple[str, ...] = ()
    build: tuple[tuple[str, ...], ...] = ()
    run: tuple[str, ...]

    @property
    def missing(self) -> str:
        """Why it cannot be run on this machine; empty when it can."""
        absent = [program for program in self.needs if shutil.which(program) is None]
        return f"{self.language}: {', '.join(absent)} not found" if absent else ""


DRIVERS: Final = (
    Driver(
        language="python",
        folder=ROOT,
        run=(sys.executable, "tests/interop/python_driver.py"),
    ),
    Driver(
        language="go",
        folder=ROOT / "clients/go",
        needs=("go",),
        build=(("go", "build", "-o", "target/interop", "./cmd/interop"),),
        run=("target/interop",),
    ),
    Driver(
        language="java",
        folder=ROOT / "clients/java",
        needs=("java", "mvn"),
        build=(("mvn", "-q", "-B", "-DskipTests", "package"),),
        run=("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-jar", "interop/target/interop.jar"),
    ),
    Driver(
        language="typescript",
        folder=ROOT / "clients/typescript",
        needs=("node", "npm"),
        build=(
            ("npm", "install", "--no-package-lock", "--no-audit", "--no-fund"),
            ("npm", "run", "build"),
        ),
        run=("node", "dist/interop.js"),
    ),
)


@cache
def built(driver: Driver) -> str:
    """Builds a driver, once per session; answers why it failed, empty when it did not."""
    with tempfile.NamedTemporaryFile("w+b", suffix=f"-{driver.language}-build.log", delete=False) as log:
        for command in driver.build:
            try:
                subprocess.run(
                    command,
                    cwd=driver.folder,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    timeout=BUILD_TIMEOUT,
                    check=True,
                )
            except (subprocess.SubprocessError, OSError) as error:
                said = Path(log.name).read_text(encoding="utf-8", errors="replace")[-3_000:]
                return f"{driver.language}: {' '.join(command)} failed ({error}):\n{said}"
    Path(log.name).unlink()
    return ""


async def run(driver: Driver, request: Mapping[str, Any]) -> dict[str, Any]:
    """Runs a driver once. Raises AssertionError when it does not keep to the protocol."""
    # In a thread: uvloop's own subprocesses now and then find the pipe to stdin closed before they write.
    done = await asyncio.to_thread(_run, driver, json.dumps(dict(request)).encode())
    assert done.returncode == 0, f"exit code {done.returncode}; stderr: {_tail(done.stderr)}"
    try:
        report = json.loads(done.stdout)
    except ValueError:
        raise AssertionError(f"no JSON: {_tail(done.stdout)}; stderr: {_tail(done.stderr)}") from None
    assert isinstance(report, dict), f"no object: {_tail(done.stdout)}"
    return report


def _run(driver: Driver, request: bytes) -> subprocess.CompletedProcess[bytes]:
    program = driver.folder / driver.run[0]
    command = [str(program) if program.exists() else driver.run[0], *driver.run[1:]]
    try:
        return subprocess.run(
            command,
            cwd=driver.folder,
            env=_environment(),
            input=request,
            capture_output=True,
            timeout=RUN_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise AssertionError(
            f"no report within {RUN_TIMEOUT} s; stderr: {_tail(late.stderr or b'')}"
        ) from None


def _environment() -> dict[str, str]:
    """Without proxies, which gRPC would ask for the way to this machine itself."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return kept | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "generated/python")])}


def _tail(output: bytes) -> str:
    return output.decode(errors="replace")[-2_000:]
