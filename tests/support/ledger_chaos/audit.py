"""Compares a ledger with what callers and engines know."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.ledger_chaos.callers import TOKENS
from tokengrpc.core.model import Usage, UsageSource
from tokengrpc.core.ports.ledger import RecordState
from tokengrpc.core.ports.usage_reader import Grouping, RecordQuery

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.support.ledger_chaos.callers import Told
    from tests.support.ledgers import ReadableLedger
    from tokengrpc.core.ports.ledger import UsageRecord
    from tokengrpc.core.ports.usage_reader import LedgerEntry

_PAGE = 1000
_SUMMED = tuple(name for name in Usage.__struct_fields__ if name != "source")


@dataclass
class Audit:
    """What was counted, and everything that is wrong."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def expect(self, what: str, *, holds: bool) -> None:
        """Notes what does not hold."""
        if not holds:
            self.wrong.append(what)


async def audited(
    ledger: ReadableLedger, told: Sequence[Told], engine_log: Mapping[str, Any]
) -> tuple[Audit, Sequence[UsageRecord]]:
    """Reads the whole ledger, and compares it."""
    audit = Audit()
    entries = [entry async for page in _pages(ledger) for entry in page]
    records = _projected(entries, audit)
    audit.counts.update(f"entries {entry.kind}" for entry in entries)
    await _compare_with_tables(ledger, records, audit)
    _compare_with_callers(records.values(), told, audit)
    prompts = {each.generation_id: each.prompt for each in told}
    for record in records.values():
        audit.counts[f"records {record.state} {record.usage.source.name}"] += 1
        audit.counts["records with several engines"] += len(record.engines) > 1
        _compare_with_engines(record, engine_log.get(prompts.get(record.generation_id, ""), ()), audit)
    return audit, list(records.values())


async def _pages(ledger: ReadableLedger) -> Any:
    after = 0
    while page := await ledger.entries(after, _PAGE):
        yield page
        after = page[-1].sequence


def _projected(entries: Sequence[LedgerEntry], audit: Audit) -> dict[str, UsageRecord]:
    """Returns the records that the entries make, which are numbered without gaps."""
    audit.expect(
        "the entries have a gap", holds=[e.sequence for e in entries] == list(range(1, len(entries) + 1))
    )
    return {entry.record.record_id: entry.record for entry in entries}


async def _compare_with_tables(
    ledger: ReadableLedger, records: Mapping[str, UsageRecord], audit: Audit
) -> None:
    stored = {record.record_id: record for record in await ledger.list_records(RecordQuery(), None, 10**6)}
    audit.expect("the records are not what the entries make of them", holds=stored == records)
    for state in {record.state for record in stored.values()} & {RecordState.OPEN}:
        audit.expect(f"a record is {state}", holds=False)
    sums = await ledger.summarize(RecordQuery(), Grouping(), 1)
    for name in _SUMMED if sums else ():
        own = sum(getattr(record.usage, name) for record in records.values())
        audit.expect(f"the sum of {name} is wrong", holds=getattr(sums[0].usage, name) == own)


def _compare_with_callers(records: Any, told: Sequence[Told], audit: Audit) -> None:
    found: dict[str, list[UsageRecord]] = defaultdict(list)
    for record in records:
        found[record.generation_id].append(record)
    audit.expect("a record of nobody", holds=found.keys() <= {each.generation_id for each in told})
    for each in told:
        audit.counts[f"generations {each.kind}: {each.code}"] += 1
        count = len(found[each.generation_id])
        audit.expect(f"{each} has {count} records", holds=count == 1 if each.started else count <= 1)
        if each.usage is not None and count == 1:
            record, usage = found[each.generation_id][0], each.usage
            same = (usage.input_token_count, usage.output_token_count, int(usage.source)) == (
                record.usage.input,
                record.usage.output,
                int(record.usage.source),
            )
            audit.expect(f"{each} is billed as {record}", holds=same and record.state is RecordState.CLOSED)


def _compare_with_engines(record: UsageRecord, attempts: Sequence[Mapping[str, Any]], audit: Audit) -> None:
    """Compares a record with the reports of all attempts, as the engine logged them when it wrote them."""
    usage, what = record.usage, f"{record} is not as logged: {attempts}"
    if record.state is RecordState.LOST:
        audit.expect(f"{record} is not flagged", holds=usage.source is UsageSource.ESTIMATED)
        most = max((a["first"] + output for a in attempts for _, output in a["reports"]), default=0)
        audit.expect(what, holds=usage.output <= most)
    elif usage.source is UsageSource.ENGINE:
        audit.counts["tokens from engines"] += usage.output
        last = [a for a in attempts if a["reports"]]
        reported = {
            (last[0]["reports"][0][0], a["first"] + output) for a in last for _, output in a["reports"]
        }
        audit.expect(what, holds=(usage.input, usage.output) in reported)
        # The engines close no idle connection, so no request has to be sent twice.
        audit.expect(f"requests: {what}", holds=len(attempts) <= len(record.attempts))
        if usage.output == TOKENS:
            again = sum(a["reports"][0][0] for a in last[1:])
            audit.expect(f"overhead: {what}", holds=usage.overhead == again)
