"""The pytest fixture `tokengrpc_server`. Name this module in `pytest_plugins`, or import the fixture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tokengrpc.testing import serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokengrpc.testing import ScriptedServer


@pytest.fixture
def tokengrpc_server() -> Iterator[ScriptedServer]:
    """A server of its own for each test. It says "Hello, world!" until its script is replaced."""
    with serve() as server:
        yield server
