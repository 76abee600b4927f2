"""Fixtures of all tests: a scripted engine, and a server whose model runs on it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import structlog
import uvloop
from hypothesis import settings

from tests.support.harness import Served, serving, upstream
from tests.support.profiles import NIGHTLY
from tests.support.scripted_engine import ScriptedEngine

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

settings.register_profile("checks", deadline=None, print_blob=True)
settings.register_profile("nightly", settings.get_profile("checks"), max_examples=10_000)
settings.load_profile("nightly" if NIGHTLY else "checks")
# Engines of tests are reached directly, whatever proxy the machine uses.
for _name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
    os.environ.pop(_name, None)
    os.environ.pop(_name.upper(), None)
structlog.configure(processors=[structlog.processors.KeyValueRenderer()])


@pytest.fixture
async def engine() -> AsyncIterator[ScriptedEngine]:
    """A scripted engine with OpenAI's dialect."""
    async with ScriptedEngine() as scripted:
        yield scripted


@pytest.fixture
async def server(engine: ScriptedEngine) -> AsyncIterator[Served]:
    """A server whose model runs on `engine`."""
    async with serving(upstream(engine.base_url)) as served:
        yield served


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Selects the event loop that the server runs on in production."""
    return {"uvloop": uvloop.new_event_loop}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option without which no test of tests/real_engines is collected."""
    parser.addoption("--real-engines", action="store_true", help="collect tests/real_engines (make engines)")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves real engines out: they take minutes to install and to run."""
    if collection_path.name == "real_engines" and not config.getoption("real_engines"):
        return True
    return None
