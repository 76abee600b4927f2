"""Token counts of Anthropic's Messages API as usage reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokengrpc.core.model import UsageReport
from tokengrpc.engines.upstream.response.counts import first_known, newest

if TYPE_CHECKING:
    from tokengrpc.engines.anthropic.schema import Event, EventDelta, Message, Usage


def usage_of(event: Event, part: EventDelta | Message | None) -> Usage | None:
    """Returns the usage of an event, or else the one that some proxies put into its part."""
    return event.usage or (None if part is None else part.usage)


def usage_report(usage: Usage, before: UsageReport, output: int | None) -> UsageReport:
    """Returns the new counts, with the counts of `before` where `usage` has none.

    Unlike the API's `input_tokens`, the report's input includes tokens read from and written to the cache.
    A zero after a known count is no count: proxies send it in the last event although they had told it.
    """
    cached = usage.cache_read_input_tokens or before.cached_input
    written = usage.cache_creation_input_tokens or before.cache_write_input
    parts = (cached or 0) + (written or 0)
    uncached = usage.input_tokens
    known = before.input or 0
    if uncached:
        input_ = uncached + parts
    elif uncached is None and known:
        input_ = known - (before.cached_input or 0) - (before.cache_write_input or 0) + parts
    else:
        input_ = max(known, parts)
    details = usage.output_tokens_details
    return newest(
        UsageReport(
            input=input_ or None,
            output=output or None,
            cached_input=first_known(cached, usage.cache_read_input_tokens),
            cache_write_input=first_known(written, usage.cache_creation_input_tokens),
            reasoning=details.thinking_tokens if details else None,
        ),
        before,
    )
