"""No request of the largest size holds the event loop, whether it is refused or served."""

from __future__ import annotations

from fuzz.dear_requests import Measured, measure_all, measure_long_answers, unit
from tests.support.raw_protobuf import DEAR

# On a busy machine, single pauses are longer, but not all of them.
TRIES = 3
# In units of work, which take about 10 ms. Before they were refused early, such requests took 10 to 60.
MOST_WORK = 1.5
LONGEST_PAUSE = 4


async def test_no_request_holds_the_loop():
    """The loop's own work, and its shortest of a few pauses, are a small multiple of a unit of work."""
    runs: list[list[Measured]] = []
    units = []
    for _ in range(TRIES):
        units.append(unit())
        runs.append(await measure_all())
    work, pause = {}, {}
    for rows in zip(*runs, strict=True):
        work[rows[0].name] = min(row.pauses.work for row in rows) / max(units)
        pause[rows[0].name] = min(row.pauses.process for row in rows) / max(units)
    assert len(work) > len(DEAR)
    assert {name: share for name, share in work.items() if share > MOST_WORK} == {}
    assert {name: share for name, share in pause.items() if share > LONGEST_PAUSE} == {}


SERVED = {"a short prompt", *(name for name in DEAR if DEAR[name].is_valid)}


async def test_each_request_ends_as_it_should():
    """Too many fields are INVALID_ARGUMENT; large but proper ones reach the engine, which is unavailable."""
    codes = {row.name: row.code for row in await measure_all()}
    assert codes == {name: "UNAVAILABLE" if name in SERVED else "INVALID_ARGUMENT" for name in codes}


async def test_one_long_response_does_not_hold_the_loop():
    """Collecting the stored events of an answer takes turns with other tasks, as streaming them does."""
    works: dict[str, list[float]] = {}
    for row in await measure_long_answers(TRIES):
        assert row.code == "OK"
        works.setdefault(row.name, []).append(row.pauses.work)
    least = {name: min(work) for name, work in works.items()}
    assert least["a long answer by GenerateText"] < 6 * least["a long answer by StreamTokens"]
