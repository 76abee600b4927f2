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
    meter.add_output(2, reasoning=True)
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
def test_no_count_decreases_under_one_source(steps) -> None:
    """Whatever engines report, and however they are lost."""
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
            assert getattr(usage, count) >= getattr(before, count)
        last[usage.source] = usage
