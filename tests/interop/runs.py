"""Runs cases side by side, because they mostly wait. Each test then reports the outcome of its own case."""

from __future__ import annotations

import asyncio
import inspect
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.interop.drivers import ready, run
from tests.interop.expectations import differences
from tests.interop.site import Restart, run_restart
from tests.interop.stage import Case, staged

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tests.interop.drivers import Driver
    from tests.interop.stage import Report

# How many cases, and how many restarts of servers, run at one time.
CASES_AT_ONCE: Final = 3
RESTARTS_AT_ONCE: Final = 4
# Each driver's process is awaited in a thread.
_THREADS: Final = 64


class Runs:
    """Outcomes of cases by language. All of them are running, or wait for their turn."""

    def __init__(self, wanted: Sequence[tuple[Driver, Case | Restart]]) -> None:
        """Starts what is wanted, in this order. It needs the running event loop."""
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
        self._one = asyncio.Lock()
        self._some = asyncio.Semaphore(CASES_AT_ONCE)
        self._restarts = asyncio.Semaphore(RESTARTS_AT_ONCE)
        by_restart: dict[Restart, list[Driver]] = {}
        for driver, case in wanted:
            if isinstance(case, Restart):
                by_restart.setdefault(case, []).append(driver)
        # They take longest, so they begin first.
        shared = {
            restart: asyncio.create_task(self._restart(restart, drivers))
            for restart, drivers in by_restart.items()
        }
        # Those that need the loop for themselves come before the others.
        alone, others = [], []
        for driver, case in wanted:
            if isinstance(case, Case):
                (alone if case.alone else others).append((driver, case))
        self._runs = {
            (driver.language, restart.name): shared[restart]
            for restart, drivers in by_restart.items()
            for driver in drivers
        }
        self._alone = self._begin(alone)
        self._begin(others)

    def _begin(self, cases: Iterable[tuple[Driver, Case]]) -> Sequence[asyncio.Task[Any]]:
        tasks = []
        for driver, case in cases:
            task = asyncio.create_task(self._case(driver, case))
            self._runs[driver.language, case.name] = task
            tasks.append(task)
        return tasks

    async def outcome(self, driver: Driver, case: Case | Restart) -> None:
        """Waits for the end of a case. Raises AssertionError if the client failed it."""
        reports = await self._runs[driver.language, case.name]
        if isinstance(case, Restart):
            report = reports[driver.language]
            if isinstance(report, BaseException):
                raise report
            compare(report, case.expects)

    async def cancel(self) -> None:
        """Cancels what still runs."""
        tasks = set(self._runs.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _case(self, driver: Driver, case: Case) -> Mapping[str, Report | BaseException]:
        if not case.alone and self._alone:
            await asyncio.wait(self._alone)
        async with self._one if case.alone else self._some:
            await asyncio.to_thread(ready, driver)
            async with staged(case) as stage:
                report = await run(driver, stage.request)
                compare(report, case.expects)
                if case.engine_calls is not None:
                    assert len(stage.engine.calls) == case.engine_calls
                if case.check is not None:
                    checked = case.check(stage, report)
                    if inspect.isawaitable(checked):
                        await checked
        return {driver.language: report}

    async def _restart(
        self, restart: Restart, drivers: Iterable[Driver]
    ) -> Mapping[str, Report | BaseException]:
        async with self._restarts:
            reports: dict[str, Report | BaseException] = {}
            for driver in drivers:
                try:
                    await asyncio.to_thread(ready, driver)
                except (pytest.skip.Exception, pytest.fail.Exception) as outcome:
                    reports[driver.language] = outcome
            able = [driver for driver in drivers if driver.language not in reports]
            return {**reports, **await run_restart(restart, able)}


def compare(report: Report, expects: Mapping[str, object]) -> None:
    """Raises AssertionError, with each field that differs, if a report is not as expected."""
    found = differences(report, expects)
    assert not found, "\n".join(["", *found, f"report: {str(report)[:2_000]}"])
