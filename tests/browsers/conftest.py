"""Bridges as processes, and Chromium. Without Chromium or the extra `browsers`, the tests are skipped."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import Server, running, serving
from tests.support.paths import ROOT
from tests.support.toolchains import BUILD_TIMEOUT, NODE, for_running
from tokengrpc import Cursor, SyncTokenStreamClient

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLE = ROOT / "examples" / "browser_bridge"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MISSING = [name for name in ("fastapi", "playwright", "uvicorn") if find_spec(name) is None]


@dataclass(frozen=True)
class Bridge:
    """A running bridge, and the server behind it."""

    process: subprocess.Popen[bytes]
    url: str
    server: Server

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def engine_text(self, cursor: str) -> str:
        """Returns the whole text of the cursor's generation, read without the bridge."""
        with SyncTokenStreamClient(self.server.target) as client:
            stream = client.resume(Cursor(Cursor.parse(cursor).generation_id))
            for _ in stream:
                pass
            return stream.text


@contextmanager
def bridging(command: tuple[str, ...], server: Server, **variables: str) -> Iterator[Bridge]:
    """Runs a bridge on a free port, or on that of PORT, until the block ends."""
    environ = for_running(**{"TOKENGRPC_TARGET": server.target, "PORT": "0", **variables})
    with running(prefix=command, variables=environ, stderr=None) as process:
        line = process.stdout.readline().decode()
        assert line.startswith("listening on http://127.0.0.1:"), line
        yield Bridge(process, line.split()[-1], server)


@pytest.fixture(scope="session", params=["fastapi", "node"])
def command(request) -> tuple[str, ...]:
    """The command of each bridge."""
    if MISSING:
        pytest.skip(f"{', '.join(MISSING)} missing: make browsers installs them")
    if request.param == "fastapi":
        return (sys.executable, str(EXAMPLE / "fastapi" / "bridge.py"))
    if not (EXAMPLE / "node").exists():
        pytest.skip("there is no bridge for Node")
    if NODE.missing:
        pytest.skip(NODE.missing)
    subprocess.run(["npm", "run", "build"], cwd=EXAMPLE / "node", timeout=BUILD_TIMEOUT, check=True)
    return ("node", str(EXAMPLE / "node" / "dist" / "bridge.js"))


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server that takes some seconds for an answer."""
    with serving("--pace", "30") as started:
        yield started


@pytest.fixture(scope="session")
def bridge(command, server) -> Iterator[Bridge]:
    """A bridge with default settings."""
    with bridging(command, server) as started:
        yield started


@pytest.fixture
async def chromium():
    """A browser without windows, which is closed after the test."""
    if CHROMIUM is None:
        pytest.skip("Chromium is missing: apt-get install chromium")
    from playwright.async_api import async_playwright  # noqa: PLC0415 - may be missing

    # Chromium's sandbox needs rights that containers do not give. The page is our own.
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()
