"""Scrapes the metrics of a server while it is measured, as Prometheus does, but more often."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

if TYPE_CHECKING:
    from collections.abc import Iterator

INTERVAL_S = 1.0
_HEADERS = {"Accept": "application/openmetrics-text;version=1.0.0", "Accept-Encoding": "gzip"}


@contextmanager
def scraped(address: str) -> Iterator[None]:
    """Scrapes the admin port at HOST:PORT once a second until the block ends; an empty address is none."""
    ended = threading.Event()

    def scrape() -> None:
        while not ended.wait(INTERVAL_S):
            with urlopen(Request(f"http://{address}/metrics", headers=_HEADERS), timeout=10) as answer:
                answer.read()

    thread = threading.Thread(target=scrape, daemon=True)
    if address:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if address:
            thread.join()
