"""Reads the admin pages of a server as Prometheus, a probe or an operator does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from tokengrpc.core.admission import Admission
from tokengrpc.core.clock import SystemClock
from tokengrpc.generations.buffer import EventBuffers
from tokengrpc.generations.loop_probe import LoopProbe
from tokengrpc.generations.status import ServerStatus
from tokengrpc.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from tests.support.harness import Served

ADMIN = "127.0.0.1:0"

Series = tuple[str, frozenset[tuple[str, str]]]
"""Name and labels of a series."""


def series(name: str, **labels: str) -> Series:
    """Returns the key of a series in what `scrape` returns."""
    return name, frozenset(labels.items())


def fetch(port: int, path: str, timeout: float = 20.0) -> tuple[int, str]:
    """Returns the status and the text of a page."""
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def unstarted_metrics() -> Metrics:
    """Returns the metrics of a server that was not started."""
    buffers = EventBuffers(buffer_bytes=1 << 20, total_bytes=1 << 20)
    status = ServerStatus(LoopProbe(lambda _: None), Admission(1), buffers, SystemClock())
    return Metrics(status)


async def page(server: Served, path: str) -> tuple[int, str]:
    """Returns the status and the text of a page of a server in this event loop."""
    return await asyncio.to_thread(fetch, server.server.admin.http_port, path)


def parse(text: str) -> dict[Series, float]:
    """Returns the value of each series of a metrics page."""
    families = text_string_to_metric_families(text)
    return {series(s.name, **s.labels): s.value for family in families for s in family.samples}


async def scrape(server: Served) -> dict[Series, float]:
    """Returns the value of each series of a server in this event loop."""
    status, text = await page(server, "/metrics")
    assert status == 200
    return parse(text)
