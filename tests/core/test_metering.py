"""Usage over several attempts: the meter alone, with engines' reports and times of reading."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from tokengrpc.core.metering import Meter
from tokengrpc.core.model import Usage, UsageReport, UsageSource


class Letters:
    name, exact = "letters", True

    def count(self, text: str) -> int:
        return len(text)


@dataclass
class Attempt:
    """One engine: how much it sent before it was lost, and whether readers saw usage meanwhile."""

    output: int
    read: bool
    tells: bool


ATTEMPTS = st.lists(
    st.builds(Attempt, st.integers(0, 9), st.booleans(), st.booleans()), min_size=1, max_size=6
)
INPUT = 10


@given(ATTEMPTS)
def test_work_of_engines_is_counted_once(attempts) -> None:
    """Input, output and overhead together are the sum of all reports, each part in its place."""
    meter, told, kept = Meter(Letters()), 0, 0
    for attempt in attempts:
        prefill = INPUT + kept
        meter.report(UsageReport(input=prefill, output=0))
        if attempt.output and kept:
            meter.repeat_prefill(exact=True)
        for number in range(1, attempt.output + 1):
            meter.add_output(1)
            meter.report(UsageReport(input=prefill, output=number))
            if attempt.read:
                assert meter.usage.output == kept + number
        told += prefill + attempt.output
        kept += attempt.output
        if attempt is attempts[-1]:
            break
        if attempt.output:
            meter.keep()
        else:
            meter.give_up()
    usage = meter.usage
    assert usage.source is UsageSource.ENGINE
    assert (usage.input, usage.output) == (INPUT, kept)
    assert usage.input + usage.output + usage.overhead == told


def test_output_that_no_reader_received_is_overhead() -> None:
    """An engine reported tokens that it held back, and was lost. They are in no other count."""
    meter = Meter(Letters())
    meter.report(UsageReport(input=INPUT, output=4))
    meter.give_up()
    meter.report(UsageReport(input=INPUT, output=2))
    assert meter.usage == Usage(INPUT, 2, overhead=INPUT + 4, source=UsageSource.ENGINE)


def test_a_reported_count_does_not_decrease() -> None:
    """A count that was read does not decrease under the same source, and nothing is counted twice."""
    meter = Meter(Letters())
    meter.report(UsageReport(input=INPUT, output=4))
    assert meter.usage.output == 4
    meter.give_up()
    assert meter.usage == Usage(INPUT, 4, overhead=INPUT, source=UsageSource.ENGINE)


def test_what_was_published_adds_up_with_the_next_engines_report() -> None:
    """Tokens of a lost engine that readers saw as billed, and all tokens of the next one: none vanishes."""
    meter = Meter(Letters())
    meter.report(UsageReport(input=INPUT, output=4, reasoning=2))
    assert meter.usage.output == 4
    meter.give_up()
    meter.report(UsageReport(input=INPUT, output=5, reasoning=3))
    usage = meter.usage
    assert (usage.output, usage.reasoning, usage.overhead) == (9, 5, INPUT)


def test_the_output_of_an_attempt_is_the_published_one() -> None:
    """An engine that lowers its own count changes neither the usage nor what the attempt is said to have."""
    meter = Meter(Letters())
    meter.report(UsageReport(input=INPUT, output=4))
    assert meter.usage.output == 4
    meter.report(UsageReport(input=INPUT, output=3))
    assert meter.output == 4


def test_only_the_billed_prefill_has_cached_parts() -> None:
    """Tokens in the cache of a later engine are part of the overhead."""
    meter = Meter(Letters())
    meter.report(UsageReport(input=INPUT, output=1, cached_input=3))
    meter.keep()
    meter.report(UsageReport(input=INPUT + 1, output=1, cached_input=11, cache_write_input=5))
    usage = meter.usage
    assert (usage.cached_input, usage.cache_write_input, usage.overhead) == (3, 0, INPUT + 1)


def test_the_weakest_source_of_all_attempts_is_reported() -> None:
    """Output that only we counted keeps its source, whatever the next engine reports."""
    meter = Meter(Letters())
    meter.count_input(INPUT, UsageSource.COUNTED)
    assert meter.count_output("abc") == 3
    meter.keep()
    meter.repeat_prefill(exact=False)
    assert meter.usage == Usage(INPUT, 3, overhead=INPUT + 3, source=UsageSource.ESTIMATED)
    meter.report(UsageReport(input=14, output=2))
    assert meter.usage == Usage(INPUT, 5, overhead=14, source=UsageSource.COUNTED)


def test_reasoning_of_all_attempts_is_added() -> None:
    """One engine reports it; that of the next one is counted."""
    meter = Meter(Letters())
    meter.report(UsageReport(input=INPUT, output=5, reasoning=5))
    meter.keep()
    meter.add_output(2, reasoning="hm")
    assert (meter.usage.output, meter.usage.reasoning) == (7, 7)
    meter.report(UsageReport(output=3, reasoning=3))
    assert (meter.usage.output, meter.usage.reasoning) == (8, 8)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("told"), st.integers(0, 5)),
        st.tuples(st.just("count"), st.integers(0, 5)),
        st.tuples(st.just("report"), st.tuples(st.integers(0, 40), st.integers(0, 40))),
        st.tuples(st.sampled_from(["keep", "give up", "repeat", "repeat by text"]), st.none()),
    )
)


@given(STEPS)
def test_only_a_report_lowers_a_count(steps) -> None:
    """An engine's count may correct ours, whatever engines report and however they are lost.

    Otherwise no count decreases while the source stays, and never under the engine's own.
    """
    meter = Meter(Letters())
    last: dict[UsageSource, Usage] = {}
    for name, value in steps:
        match name:
            case "told":
                meter.add_output(value)
            case "count":
                meter.count_output("x" * value)
            case "report":
                meter.report(UsageReport(input=value[0], output=value[1]))
            case "keep":
                meter.keep()
            case "give up":
                meter.give_up()
            case _:
                meter.repeat_prefill(exact=name == "repeat")
        usage = meter.usage
        before = last.get(usage.source, Usage())
        for count in ("input", "output", "overhead", "reasoning", "cached_input"):
            corrected = name == "report" and usage.source is not UsageSource.ENGINE
            assert corrected or getattr(usage, count) >= getattr(before, count)
        last[usage.source] = usage


class TestSources:
    """Each count has its own source, and the usage has the weakest of them."""

    def test_reasoning_that_only_we_counted(self) -> None:
        """The engine reports no reasoning count: ours makes the whole usage ours."""
        meter = Meter(Letters())
        meter.count_output("ab", reasoning="x" * 13)
        meter.report(UsageReport(input=INPUT, output=16))
        assert meter.usage == Usage(INPUT, 16, reasoning=13, source=UsageSource.COUNTED)

    def test_our_count_is_no_bar_to_the_engines(self) -> None:
        """The engine reports fewer reasoning tokens than we counted, after a usage that had ours."""
        meter = Meter(Letters())
        meter.count_output("", reasoning="x" * 13)
        meter.report(UsageReport(input=INPUT, output=16))
        assert meter.usage.reasoning == 13
        meter.report(UsageReport(input=INPUT, output=16, reasoning=11))
        assert meter.usage == Usage(INPUT, 16, reasoning=11, source=UsageSource.ENGINE)

    def test_a_correction_while_other_counts_are_ours(self) -> None:
        """The engine's output count replaces ours although it never reports the input."""
        meter = Meter(Letters())
        meter.count_input(INPUT, UsageSource.COUNTED)
        meter.count_output("x" * 9)
        assert meter.usage.output == 9
        meter.report(UsageReport(output=7))
        assert meter.usage == Usage(INPUT, 7, source=UsageSource.COUNTED)

    def test_reasoning_in_counted_chunks_is_the_engines(self) -> None:
        """If the engine counts each chunk, the sum of its reasoning chunks is the engine's count."""
        meter = Meter(Letters())
        meter.add_output(4, reasoning="let me")
        meter.add_output(2)
        meter.report(UsageReport(input=INPUT, output=6))
        assert meter.usage == Usage(INPUT, 6, reasoning=4, source=UsageSource.ENGINE)

    def test_a_chunk_with_reasoning_and_text(self) -> None:
        """Of a chunk that has both, the engine's count covers both: the reasoning's share is our count."""
        meter = Meter(Letters())
        meter.report(UsageReport(input=INPUT))
        meter.add_output(5, reasoning="hm", beside=True)
        assert meter.usage == Usage(INPUT, 5, reasoning=2, source=UsageSource.COUNTED)

    def test_zeros_that_cannot_be(self) -> None:
        """A zero for something that exists is no count."""
        meter = Meter(Letters())
        meter.count_input(INPUT, UsageSource.COUNTED)
        meter.count_output("abc", reasoning="hm")
        meter.report(UsageReport(input=0, output=0, reasoning=0))
        assert meter.usage == Usage(INPUT, 5, reasoning=2, source=UsageSource.COUNTED)
        meter.report(UsageReport(input=12, output=6, reasoning=3))
        meter.report(UsageReport(input=0, output=0, reasoning=0))
        assert meter.usage == Usage(12, 6, reasoning=3, source=UsageSource.ENGINE)

    def test_zeros_that_can_be(self) -> None:
        """An engine that generated nothing reports so."""
        meter = Meter(Letters())
        meter.report(UsageReport(input=INPUT, output=0, reasoning=0))
        assert meter.usage == Usage(INPUT, source=UsageSource.ENGINE)
