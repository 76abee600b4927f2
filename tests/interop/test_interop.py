"""Every language's client in every case, against a real server and over connections that really break."""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING

import pytest
import tables
from cases import CASES
from drivers import BUILD_TIMEOUT, DRIVERS, Driver, built, run
from expectations import differences
from stage import Case, staged

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUIRE_ALL = os.environ.get("TOKENGRPC_REQUIRE_ALL") == "1"

Results = dict[tuple[str, str], bool | None]


@pytest.fixture(scope="session")
def results() -> Iterator[Results]:
    """What came out, by language and case; written down at the end when that is asked for."""
    found: Results = {}
    yield found
    if tables.WRITE_DOCS:
        page = tables.results_page(CASES, [driver.language for driver in DRIVERS], found)
        tables.RESULTS_FILE.write_text(page, encoding="utf-8")


@pytest.fixture(params=DRIVERS, ids=lambda driver: driver.language, scope="session")
def driver(request: pytest.FixtureRequest) -> Driver:
    """A driver that is ready to run."""
    wanted: Driver = request.param
    if wanted.missing:
        give_up = pytest.fail if REQUIRE_ALL else pytest.skip
        give_up(wanted.missing)
    if problem := built(wanted):
        pytest.fail(problem)
    return wanted


@pytest.mark.timeout(BUILD_TIMEOUT + 120)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
async def test_case(driver: Driver, case: Case, results: Results) -> None:
    """The report and the number of engine calls are as expected, and nothing is left behind."""
    results[driver.language, case.name] = False
    async with staged(case) as stage:
        report = await run(driver, {"target": stage.proxy.target, **case.request})
        found = differences(report, case.expects)
        assert not found, "\n".join(["", *found, f"report: {str(report)[:2_000]}"])
        if case.engine_calls is not None:
            assert len(stage.engine.calls) == case.engine_calls
        if case.check is not None:
            checked = case.check(stage, report)
            if inspect.isawaitable(checked):
                await checked
    results[driver.language, case.name] = True


def test_the_table_of_cases_is_current() -> None:
    """CASES.md is what the code says."""
    page = tables.cases_page(CASES)
    if tables.WRITE_DOCS:
        tables.CASES_FILE.write_text(page, encoding="utf-8")
    assert tables.CASES_FILE.read_text(encoding="utf-8") == page, (
        "CASES.md differs from cases.py: run TOKENGRPC_WRITE_DOCS=1 pytest tests/interop -k table"
    )


def test_the_table_of_results_is_current() -> None:
    """RESULTS.md has each case and each language, and nothing in it is red."""
    if tables.WRITE_DOCS:
        pytest.skip("it is being written")
    languages = [driver.language for driver in DRIVERS]
    all_green = {(language, case.name): True for language in languages for case in CASES}
    assert tables.RESULTS_FILE.read_text(encoding="utf-8") == tables.results_page(
        CASES, languages, all_green
    ), "RESULTS.md differs: run TOKENGRPC_WRITE_DOCS=1 pytest tests/interop with all toolchains"


def test_names_of_cases_differ() -> None:
    """They are the keys of the tables."""
    assert len({case.name for case in CASES}) == len(CASES)
