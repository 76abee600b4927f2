"""Every language's client in every case, against a real server and over connections that break."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.interop import tables
from tests.interop.cases import CASES, GROUPS
from tests.interop.drivers import DRIVERS
from tests.interop.runs import Runs
from tests.support.toolchains import BUILD_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.interop.drivers import Driver
    from tests.interop.site import Restart
    from tests.interop.stage import Case
    from tests.interop.tables import Results

LANGUAGES = [driver.language for driver in DRIVERS]
# Also runs the cases that wait for a minute.
LONG = os.environ.get("TOKENGRPC_LONG") == "1"
BEING_WRITTEN = "README.md is written by this run"
WRITE_IT = "run TOKENGRPC_WRITE_DOCS=1 make interop-long with all toolchains"


@pytest.fixture(scope="session")
def results() -> Iterator[Results]:
    """The outcomes by language and case. They are written to the documents at the end, on request."""
    found: Results = {}
    yield found
    if tables.WRITE_DOCS and found:
        page = tables.README.read_text(encoding="utf-8")
        table = tables.results_table(GROUPS, LANGUAGES, found)
        tables.README.write_text(tables.with_table(page, table), encoding="utf-8")


def in_time(case: Case | Restart) -> bool:
    """Returns whether this run has the time for a case."""
    return LONG or not getattr(case, "long", False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def runs(request: pytest.FixtureRequest) -> AsyncIterator[Runs]:
    """All cases that this session runs."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    selected = [item.callspec.params for item in items if "runs" in item.fixturenames]
    running = Runs([(params["driver"], params["case"]) for params in selected if in_time(params["case"])])
    yield running
    await running.cancel()


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.timeout(BUILD_TIMEOUT + 600)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
@pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: driver.language)
async def test_case(driver: Driver, case: Case | Restart, runs: Runs, results: Results) -> None:
    """The report and the number of engine calls are as expected, and nothing is left behind."""
    if not in_time(case):
        pytest.skip("make interop-long runs it")
    results[driver.language, case.name] = False
    await runs.outcome(driver, case)
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
    """The table has one mark per case, in the order of the cases."""
    if tables.WRITE_DOCS:
        pytest.skip(BEING_WRITTEN)
    page = tables.README.read_text(encoding="utf-8")
    told = tables.results_in(page, GROUPS)
    assert page == tables.with_table(page, tables.results_table(GROUPS, LANGUAGES, told)), WRITE_IT


def test_the_readme_tells_what_came_out(results: Results) -> None:
    """The table agrees with every case of this run. This test runs last."""
    if tables.WRITE_DOCS:
        pytest.skip(BEING_WRITTEN)
    told = tables.results_in(tables.README.read_text(encoding="utf-8"), GROUPS)
    differing = [key for key, passed in results.items() if told.get(key) is not passed]
    assert not differing, f"README.md tells {differing} otherwise: {WRITE_IT}"
