"""docs/testing-your-service.md: its examples are tests, which run as in somebody else's project."""

from __future__ import annotations

import re

import pytest

from tests.support.paths import ROOT

pytest_plugins = ["pytester"]

PAGE = (ROOT / "docs" / "testing-your-service.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """An empty project, with the conftest and the option that the page names."""
    (plugins,) = re.findall(r"`(pytest_plugins = .*?)`", PAGE)
    (mode,) = re.findall(r'`asyncio_mode = "(\w+)"`', PAGE)
    pytester.makeconftest(plugins)
    scope = "asyncio_default_fixture_loop_scope = function"
    pytester.makeini(f"[pytest]\nasyncio_mode = {mode}\n{scope}\nfilterwarnings = error\n")
    return pytester


def test_the_examples_pass(project: pytest.Pytester) -> None:
    """All of them, each in a module of its own."""
    count = 0
    for number, example in enumerate(EXAMPLES):
        (project.path / f"test_{number}.py").write_text(example, encoding="utf-8")
        count += len(re.findall(r"def test_", example))
    assert count >= 8
    project.runpytest_subprocess("-q").assert_outcomes(passed=count)


def test_each_test_has_a_server_of_its_own(project: pytest.Pytester) -> None:
    """The script of one is not that of the next. Both blocking and asyncio tests use the fixture."""
    project.makepyfile(
        """
        from tokengrpc import SyncTokenStreamClient, TokenStreamClient

        targets = set()

        def test_first(tokengrpc_server):
            tokengrpc_server.script("mine")
            targets.add(tokengrpc_server.target)
            with SyncTokenStreamClient(tokengrpc_server.target) as client:
                assert client.generate("x").text == "mine"

        async def test_second(tokengrpc_server):
            targets.add(tokengrpc_server.target)
            async with TokenStreamClient(tokengrpc_server.target) as client:
                assert (await client.generate("x")).text == "Hello, world!"
            assert len(targets) == 2
        """
    )
    project.runpytest_subprocess("-q").assert_outcomes(passed=2)


def test_runs_that_do_not_ask_load_nothing(project: pytest.Pytester) -> None:
    """The server's packages are imported by the tests that use it alone."""
    project.makeconftest("")
    project.makepyfile(
        """
        import sys

        def test_nothing_is_loaded():
            assert not [name for name in sys.modules if name.split(".")[0] == "tokengrpc"]
        """
    )
    project.runpytest_subprocess("-q").assert_outcomes(passed=1)
