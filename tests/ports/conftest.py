"""Fixtures of the tests of the ports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.ledgers import LEDGERS
from tests.support.tenant_stores import TENANT_STORES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.ledgers import ReadableLedger
    from tokengrpc.core.ports.tenant_store import TenantStore


@pytest.fixture(params=LEDGERS, ids=[make.__name__ for make in LEDGERS])
async def ledger(request, tmp_path: Path) -> AsyncIterator[ReadableLedger]:
    """Each ledger of this project, started."""
    with request.param(request, tmp_path) as made:
        await made.start()
        yield made
        await made.close()


@pytest.fixture(params=TENANT_STORES, ids=[make.__name__ for make in TENANT_STORES])
async def tenant_store(request, tmp_path: Path) -> AsyncIterator[TenantStore]:
    """Each store of tenants of this project, started."""
    with request.param(request, tmp_path) as made:
        await made.start()
        yield made
        await made.close()
