"""One entry per language: the driver's toolchain, how to build it (once per session) and how to run it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.support.paths import ROOT
from tests.support.toolchains import GO, JAVA, NODE, Toolchain, build, for_running, require

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Seconds.
RUN_TIMEOUT: Final = 60
_PYTHONPATH: Final = os.pathsep.join([str(ROOT), str(ROOT / "generated/python")])


@dataclass(frozen=True, kw_only=True)
class Driver:
    """A language's driver. Its commands run in `folder`."""

    language: str
    folder: Path
    toolchain: Toolchain | None = None
    build: tuple[tuple[str, ...], ...] = ()
    run: tuple[str, ...]


DRIVERS: Final = (
    Driver(
        language="python",
        folder=ROOT,
        run=(sys.executable, "-m", "tests.interop.python_driver"),
    ),
    Driver(
        language="go",
        folder=ROOT / "clients/go",
        toolchain=GO,
        build=(("go", "build", "-o", "target/interop", "./cmd/interop"),),
        run=("target/interop",),
    ),
    Driver(
        language="java",
        folder=ROOT / "clients/java",
        toolchain=JAVA,
        build=(("mvn", "-q", "-B", "-DskipTests", "package"),),
        run=("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-jar", "interop/target/interop.jar"),
    ),
    Driver(
        language="typescript",
        folder=ROOT / "clients/typescript",
        toolchain=NODE,
        build=(
            ("npm", "install", "--no-package-lock", "--no-audit", "--no-fund"),
            ("npm", "run", "build"),
        ),
        run=("node", "dist/interop.js"),
    ),
)


# Cases that run side by side need the same driver.
_BUILDING: Final = {driver.language: threading.Lock() for driver in DRIVERS}


def ready(driver: Driver) -> None:
    """Builds a driver, once per session, from any thread. Without its toolchain, skips or fails the test."""
    with _BUILDING[driver.language]:
        if driver.toolchain is not None:
            require(driver.toolchain)
        build(*driver.build, folder=driver.folder)


async def run(driver: Driver, request: Mapping[str, Any], timeout: float = RUN_TIMEOUT) -> dict[str, Any]:
    """Runs a driver once. `timeout` is in seconds. Raises AssertionError if it violates the protocol."""
    # In a thread: uvloop's own subprocesses now and then find the pipe to stdin closed before they write.
    done = await asyncio.to_thread(_run, driver, json.dumps(dict(request)).encode(), timeout)
    assert done.returncode == 0, f"exit code {done.returncode}; stderr: {_tail(done.stderr)}"
    try:
        report = json.loads(done.stdout)
    except ValueError:
        raise AssertionError(f"no JSON: {_tail(done.stdout)}; stderr: {_tail(done.stderr)}") from None
    assert isinstance(report, dict), f"no object: {_tail(done.stdout)}"
    return report


def _run(driver: Driver, request: bytes, timeout: float) -> subprocess.CompletedProcess[bytes]:
    program = driver.folder / driver.run[0]
    command = [str(program) if program.exists() else driver.run[0], *driver.run[1:]]
    try:
        return subprocess.run(
            command,
            cwd=driver.folder,
            env=for_running(PYTHONPATH=_PYTHONPATH),
            input=request,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise AssertionError(f"no report within {timeout:g} s; stderr: {_tail(late.stderr or b'')}") from None


def _tail(output: bytes) -> str:
    return output.decode(errors="replace")[-2_000:]
