"""A server with tenants, one of them an admin, on each kind of ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.harness import serving
from tests.support.ledgers import LEDGERS
from tests.support.usage_service import KEYS, TENANTS, Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, key in KEYS.items():
        monkeypatch.setenv(key, f"{name}-secret")


@pytest.fixture(params=LEDGERS, ids=[make.__name__ for make in LEDGERS])
async def service(request, keys: None, tmp_path: Path) -> AsyncIterator[Service]:
    with request.param(request, tmp_path) as ledger:
        async with serving(ledger=ledger, tenants=TENANTS) as served:
            yield Service(served)
