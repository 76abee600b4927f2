"""Fixtures of the tests of generations."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.virtual_time import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    """An event loop whose clock the test moves."""
    made = VirtualLoop()
    yield made
    asyncio.set_event_loop(None)
    made.close()
