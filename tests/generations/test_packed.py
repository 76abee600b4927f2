"""Packed records are the records that were added, whatever is dropped and however they are joined."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from tests.support.profiles import examples
from tokengrpc.core.events import RecordKind
from tokengrpc.core.ports.log import Record, joinable_run
from tokengrpc.generations.packed import MARK_BYTES, PackedRecords

LARGEST = 64
ADDED = st.tuples(
    st.sampled_from(RecordKind), st.binary(max_size=LARGEST), st.binary(min_size=1, max_size=20)
)
STEPS = st.lists(st.lists(ADDED, min_size=1, max_size=5) | st.integers(1, 4), max_size=30)


def size(records: deque[Record]) -> int:
    return sum(len(record.body) + len(record.tail) + MARK_BYTES for record in records)


@examples(500)
@given(steps=STEPS, sealed=st.booleans(), bound=st.integers(0, 3 * LARGEST))
def test_packed_records_equal_a_list(steps: list, sealed: bool, bound: int) -> None:
    """Numbers are drops. A list of records is the reference for sizes, messages and tails."""
    packed, reference, sequence = PackedRecords(), deque[Record](), 0
    for step in steps:
        if isinstance(step, int):
            count = min(step, len(reference))
            before = size(reference)
            for _ in range(count):
                reference.popleft()
            if count:
                assert packed.drop(count) == before - size(reference)
            continue
        more = [Record(sequence + i + 1, *added) for i, added in enumerate(step)]
        sequence += len(more)
        assert packed.extend(more) == size(deque(more))
        reference.extend(more)
    if sealed:
        packed.seal()
    assert (len(packed), packed.size) == (len(reference), size(reference))
    first = sequence - len(reference) + 1
    for position in range(len(reference)):
        run = joinable_run(list(reference)[position:], bound)
        assert packed.records(position, bound, first + position) == run
        message = b"".join(record.body for record in run) + run[-1].tail
        assert packed.message(position, bound) == (len(run), message)
        assert packed.tail(position) == reference[position].tail
    while size(reference) > bound and reference:
        reference.popleft()
    overhang = packed.overhang(bound)
    assert len(packed) - overhang == len(reference)


def test_dropping_keeps_memory_in_proportion() -> None:
    """A log that drops its oldest record for each new one does not grow, neither its data nor its marks."""
    packed = PackedRecords()
    for sequence in range(1, 20_001):
        packed.extend([Record(sequence, RecordKind.TOKENS, b"x" * 30, b"y" * 10)])
        if len(packed) > 100:
            packed.drop(1)
    assert len(packed.data) == 100 * 40
    assert len(packed.marks) < 20 * 100
    assert packed.tail(0) == b"y" * 10
