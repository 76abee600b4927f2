"""The handlers of the UsageService: one short method per RPC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tokenstreaming.v1 import usage_service_pb2 as pb

from tokengrpc.errors import InvalidRequest
from tokengrpc.wire.parsing import parse
from tokengrpc.wire.usage import entry_message, page_message, sum_message
from tokengrpc.wire.usage_requests import MAX_GROUPS, NEWEST, entries_of, page_of, summary_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.core.ports.ledger import UsageRecord
    from tokengrpc.core.ports.usage_reader import LedgerEntry, UsageSum
    from tokengrpc.rpc.call import Handler, RpcCall
    from tokengrpc.rpc.usage_reads import UsageReads

SERVICE = pb.DESCRIPTOR.services_by_name["UsageService"]


class UsageServicer:
    """Handlers of the RPCs, which take and return encoded messages."""

    def __init__(self, reads: UsageReads) -> None:
        self._reads = reads

    async def list_usage_records(self, data: bytes, call: RpcCall) -> bytes:
        """Handles ListUsageRecords."""
        page = page_of(parse(pb.ListUsageRecordsRequest, data), call.identity)

        def encode(records: Sequence[UsageRecord]) -> bytes:
            return page_message(page, records).SerializeToString()

        # One more than the page has, which tells whether there is a next one.
        return await self._reads.read(
            lambda reader: reader.list_records(page.query, page.after, page.size + 1), encode
        )

    async def summarize_usage(self, data: bytes, call: RpcCall) -> bytes:
        """Handles SummarizeUsage."""
        query, grouping = summary_of(parse(pb.SummarizeUsageRequest, data), call.identity)

        def encode(sums: Sequence[UsageSum]) -> bytes:
            if len(sums) > MAX_GROUPS:
                rule = f"makes more than {MAX_GROUPS} groups: ask for longer buckets, or a shorter time"
                raise InvalidRequest([("group_by", rule)])
            return pb.SummarizeUsageResponse(summaries=map(sum_message, sums)).SerializeToString()

        return await self._reads.read(
            lambda reader: reader.summarize(query, grouping, MAX_GROUPS + 1), encode
        )

    async def list_usage_entries(self, data: bytes, call: RpcCall) -> bytes:
        """Handles ListUsageEntries."""
        asked = entries_of(parse(pb.ListUsageEntriesRequest, data), call.identity)
        if asked.after == NEWEST:
            return await self._reads.read(
                lambda reader: reader.newest_sequence(asked.tenant),
                lambda newest: pb.ListUsageEntriesResponse(last_sequence=newest).SerializeToString(),
            )

        def encode(entries: Sequence[LedgerEntry]) -> bytes:
            return pb.ListUsageEntriesResponse(
                usage_entries=map(entry_message, entries),
                last_sequence=entries[-1].sequence if entries else asked.after,
            ).SerializeToString()

        return await self._reads.read(
            lambda reader: reader.entries(asked.after, asked.size, asked.tenant), encode
        )

    @property
    def handlers(self) -> dict[str, Handler[Any]]:
        """The handlers by the name of the RPC."""
        return {
            "ListUsageRecords": self.list_usage_records,
            "SummarizeUsage": self.summarize_usage,
            "ListUsageEntries": self.list_usage_entries,
        }
