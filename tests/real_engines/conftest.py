"""Starts each engine once, gives each case its bench, and prints the table of outcomes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.real_engines import table
from tests.real_engines.bench import Bench
from tests.real_engines.kind import Kind
from tests.real_engines.kinds import KINDS
from tests.real_engines.recorder import Recorder
from tests.support.harness import serving
from tokengrpc.config import model_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.real_engines.kind import Engine

_CHOSEN = os.environ.get("ENGINES", "").split()
_SELECTED = [kind for kind in KINDS if not _CHOSEN or kind.installed_as in _CHOSEN]
_CELLS: dict[tuple[str, str], str] = {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the cases that are for other engines: a module's `runs_on` says for which its cases are."""
    others = []
    for item in items:
        if (key := _cell_of(item)) is not None:
            _CELLS[key] = "not run" if _applies(item) else "n/a"
            if not _applies(item):
                others.append(item)
    items[:] = [item for item in items if item not in others]
    config.hook.pytest_deselected(items=others)


def _cell_of(item: pytest.Item) -> tuple[str, str] | None:
    kind = _kind_of(item)
    if kind is None or not isinstance(item, pytest.Function):
        return None
    return kind.name, table.sentence(item.originalname)


def _kind_of(item: pytest.Item) -> Kind | None:
    params = getattr(item, "callspec", None)
    found = params.params.get("started") if params is not None else None
    return found if isinstance(found, Kind) else None


def _applies(item: pytest.Item) -> bool:
    runs_on = getattr(getattr(item, "module", None), "runs_on", None)
    return runs_on is None or bool(runs_on(_kind_of(item)))


@pytest.fixture(scope="session", params=_SELECTED, ids=lambda kind: kind.name)
def started(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Kind, Engine]]:
    """An engine of each kind that is installed."""
    kind: Kind = request.param
    if reason := kind.missing():
        pytest.skip(reason)
    engine = kind.launch(tmp_path_factory.mktemp("engine"))
    try:
        engine.start()
        yield kind, engine
    finally:
        engine.stop()


@pytest.fixture
async def bench(started: tuple[Kind, Engine], request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """A running engine with a recorder and a server before it."""
    kind, engine = started
    case = request.node.originalname.removeprefix("test_")
    if reason := kind.lacks.get(case):
        pytest.skip(reason)
    engine.start()
    async with Recorder(engine.process.port) as recorder:
        url = f"http://127.0.0.1:{recorder.port}{kind.base_path}"
        settings = {"allowed_engine_params": tuple(kind.never_ending), **kind.settings}
        async with serving(model_settings(name="scripted", base_url=url, **settings)) as server:
            yield Bench(kind, engine, recorder, server)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Function, call: pytest.CallInfo[None]):
    """Keeps the outcome of each case."""
    report = (yield).get_result()
    key = _cell_of(item)
    if key is None or (report.when != "call" and report.passed):
        return
    if report.skipped:
        _CELLS[key] = f"skipped: {table.one_line(report.longrepr[2].removeprefix('Skipped: '))}"
    elif report.failed:
        assert call.excinfo is not None
        _CELLS[key] = f"fails: {table.one_line(str(call.excinfo.value) or call.excinfo.typename)}"
    else:
        _CELLS[key] = "pass"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the table, and writes it into the docs if the run was told to and had all engines and cases."""
    versions = {kind.name: "" if kind.missing() else kind.version() for kind in _SELECTED}
    if set(_CELLS.values()) <= {"not run", "n/a"}:
        return
    terminalreporter.write_line(table.table(versions, _CELLS))
    if os.environ.get("TOKENGRPC_WRITE_DOCS") == "1":
        table.write(versions, _CELLS)
