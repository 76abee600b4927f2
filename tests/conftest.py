"""Fixtures of all tests: a scripted engine, and a server whose model runs on it."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
import structlog
import uvloop
from hypothesis import settings

from tests.support.harness import Served, serving, upstream
from tests.support.postgres import Postgres, postgres
from tests.support.profiles import NIGHTLY
from tests.support.redis_servers import RedisServer, fsynced, replicated
from tests.support.scripted_engine import ScriptedEngine

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

settings.register_profile("checks", deadline=None, print_blob=True)
settings.register_profile("nightly", settings.get_profile("checks"), max_examples=10_000)
settings.load_profile("nightly" if NIGHTLY else "checks")
# Engines of tests are reached directly, whatever proxy the machine uses.
for _name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
    os.environ.pop(_name, None)
    os.environ.pop(_name.upper(), None)
# A shell runs background jobs with SIGINT ignored, and so would all programs that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
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


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A PostgreSQL server. Skips the test if PostgreSQL is not installed."""
    with postgres() as running:
        yield running


@pytest.fixture(scope="session")
def redis_fsynced_server() -> Iterator[RedisServer]:
    """A Redis that writes each change to disk. Skips the test if Redis is not installed."""
    with fsynced("redis") as running:
        yield running


@pytest.fixture(scope="session")
def valkey_replicated_server() -> Iterator[RedisServer]:
    """A Valkey with a replica."""
    with replicated("valkey") as running:
        yield running


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Selects the event loop that the server runs on in production."""
    return {"uvloop": uvloop.new_event_loop}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds options for tests that need an installation or a build of minutes."""
    parser.addoption("--real-engines", action="store_true", help="collect tests/real_engines (make engines)")
    parser.addoption(
        "--other-languages",
        action="store_true",
        help="build all of docs/other-languages.md (make other-languages)",
    )
    parser.addoption(
        "--built-dist", action="store_true", help="test what make dist has built (make dist-test)"
    )
    parser.addoption(
        "--image",
        action="store_true",
        help="build what deploy/Containerfile says, and test containers of it (make image-test)",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves real engines out: they take minutes to install and to run."""
    if collection_path.name == "real_engines" and not config.getoption("real_engines"):
        return True
    return None
