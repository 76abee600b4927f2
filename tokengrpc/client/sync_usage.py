"""The usage ledger, as `SyncTokenStreamClient.usage` reads it, like `usage.py`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tokenstreaming.v1 import usage_service_pb2 as pb

from tokengrpc.client.channel import CONTROL_TIMEOUT
from tokengrpc.client.delays import DEFAULT_PATIENCE
from tokengrpc.client.errors import UnavailableError
from tokengrpc.client.usage_requests import NEWEST, summarize_request, usage_filter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Unpack

    from tokengrpc.client.connections import Connections
    from tokengrpc.client.policy import ResumePolicy
    from tokengrpc.client.sync_connection import SyncConnection
    from tokengrpc.client.usage_requests import UsageFilters

_PAGE = 1000


class SyncUsage:
    """Reads the usage ledger: of the caller's own tenant, or, as an admin, of all or one.

    The filters are `tenant`, `model`, `generation_id`, `labels`, and the datetimes `since` (inclusive) and
    `until` (exclusive) of the generations' starts. `timeout` is in seconds for each page. All methods raise
    TokenStreamError, TypeError for an unknown filter, ValueError for a time without a zone.
    """

    def __init__(self, connections: Connections[SyncConnection], policy: ResumePolicy) -> None:
        self._connections = connections
        self._policy = policy

    def records(
        self, *, timeout: float | None = CONTROL_TIMEOUT, **filters: Unpack[UsageFilters]
    ) -> Iterator[pb.UsageRecord]:
        """Yields usage records, newest first. Pages are read as they are needed."""
        request = pb.ListUsageRecordsRequest(filter=usage_filter(**filters), page_size=_PAGE)
        while True:
            connection = self._connections.here()
            page = connection.unary(connection.usage_stub.ListUsageRecords, request, timeout)
            yield from page.usage_records
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def summarize(
        self,
        by: Iterable[str] = (),
        *,
        zone: str = "",
        timeout: float | None = CONTROL_TIMEOUT,
        **filters: Unpack[UsageFilters],
    ) -> list[pb.UsageSummary]:
        """Returns sums by any of `tenant`, `model`, `label:KEY`, and one of `hour`, `day`, `month`.

        `zone` is an IANA name such as Europe/Berlin, by default UTC. Without `by`, there is one sum, or none.
        Raises ValueError for another word.
        """
        request = summarize_request(by, zone, **filters)
        connection = self._connections.here()
        return list(connection.unary(connection.usage_stub.SummarizeUsage, request, timeout).summaries)

    def entries(
        self, *, after: int = 0, tenant: str = "", timeout: float | None = CONTROL_TIMEOUT
    ) -> Iterator[pb.UsageEntry]:
        """Yields the ledger's entries after a sequence, in order, until there are no further ones."""
        while True:
            page = self._page(after, tenant, timeout)
            yield from page.usage_entries
            if len(page.usage_entries) < _PAGE:
                return
            after = page.last_sequence

    def newest_sequence(self, *, tenant: str = "", timeout: float | None = CONTROL_TIMEOUT) -> int:
        """Returns the sequence of the ledger's newest entry, after which `follow` yields what comes now.

        Waits for a server that is unavailable, as `follow` does.
        """
        return self._patient_page(NEWEST, tenant, 1.0, timeout).last_sequence

    def follow(
        self,
        *,
        after: int = 0,
        tenant: str = "",
        interval: float = 1.0,
        timeout: float | None = CONTROL_TIMEOUT,
    ) -> Iterator[pb.UsageEntry]:
        """Yields the ledger's entries after a sequence without end, and looks for new ones each `interval` s.

        Raises UnavailableError if the server or its ledger stays unavailable for the policy's patience, by
        default a minute.
        """
        while True:
            page = self._patient_page(after, tenant, interval, timeout)
            yield from page.usage_entries
            after = page.last_sequence
            if len(page.usage_entries) < _PAGE:
                time.sleep(interval)

    def _page(self, after: int, tenant: str, timeout: float | None) -> pb.ListUsageEntriesResponse:
        request = pb.ListUsageEntriesRequest(after_sequence=after, tenant=tenant, page_size=_PAGE)
        connection = self._connections.here()
        return connection.unary(connection.usage_stub.ListUsageEntries, request, timeout)

    def _patient_page(
        self, after: int, tenant: str, interval: float, timeout: float | None
    ) -> pb.ListUsageEntriesResponse:
        """Asks for a page again each `interval` s while the server is unavailable, within the patience."""
        patience = DEFAULT_PATIENCE if self._policy.patience is None else self._policy.patience
        asked = time.monotonic()
        while True:
            try:
                return self._page(after, tenant, timeout)
            except UnavailableError:
                if time.monotonic() - asked > patience:
                    raise
            time.sleep(interval)
