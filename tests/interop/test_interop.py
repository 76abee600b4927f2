"""Every language's client in every case, against a real server and over connections that really break."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pytest

from tests.interop import tables
from tests.interop.cases import CASES, GROUPS
from tests.interop.drivers import DRIVERS, Driver, ready, run
from tests.interop.expectations import differences
from tests.interop.stage import Case, staged
from tests.support.toolchains import BUILD_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.interop.tables import Results

LANGUAGES = [driver.language for driver in DRIVERS]
BEING_WRITTEN = "README.md is written by this run"
WRITE_IT = "run TOKENGRPC_WRITE_DOCS=1 pytest tests/interop with all toolchains"


@pytest.fixture(scope="session")
def results() -> Iterator[Results]:
    """The outcomes by language and case. They are written to the documents at the end, on request."""
    found: Results = {}
    yield found
    if tables.WRITE_DOCS and found:
        page = tables.README.read_text(encoding="utf-8")
        table = tables.results_table(GROUPS, LANGUAGES, found)
        tables.README.write_text(tables.with_table(page, table), encoding="utf-8")


@pytest.fixture(params=DRIVERS, ids=lambda driver: driver.language, scope="session")
def driver(request: pytest.FixtureRequest) -> Driver:
    """A driver that is ready to run."""
    wanted: Driver = request.param
    ready(wanted)
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
    """CASES.md equals what the code generates."""
    page = tables.cases_page(CASES)
    if tables.WRITE_DOCS:
        tables.CASES_FILE.write_text(page, encoding="utf-8")
    assert tables.CASES_FILE.read_text(encoding="utf-8") == page, (
        "CASES.md differs from cases.py: run TOKENGRPC_WRITE_DOCS=1 pytest tests/interop -k table"
    )


def test_names_of_cases_differ() -> None:
    """The names are the keys of the tables, so each is unique."""
    assert len({case.name for case in CASES}) == len(CASES)


def test_the_readme_has_each_language_and_each_case() -> None:
    """Its table has as many marks as there are cases today, in their order."""
    if tables.WRITE_DOCS:
        pytest.skip(BEING_WRITTEN)
    page = tables.README.read_text(encoding="utf-8")
    told = tables.results_in(page, GROUPS)
    assert page == tables.with_table(page, tables.results_table(GROUPS, LANGUAGES, told)), WRITE_IT


def test_the_readme_tells_what_came_out(results: Results) -> None:
    """Contains every case that has just run. This test runs last."""
    if tables.WRITE_DOCS:
        pytest.skip(BEING_WRITTEN)
    told = tables.results_in(tables.README.read_text(encoding="utf-8"), GROUPS)
    differing = [key for key, passed in results.items() if told.get(key) is not passed]
    assert not differing, f"README.md tells {differing} otherwise: {WRITE_IT}"
