"""tests/README.md: its examples run, and the helpers in its table exist."""

from __future__ import annotations

import asyncio
import inspect
import re
from importlib import import_module
from typing import Any

import pytest
import uvloop

from tests.support.paths import ROOT

PAGE = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
ROWS = re.findall(r"^\| (.*?) \| (.*) \| (`.*`) \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: re.findall(r"def (test_\w+)", text)[0])
def test_examples_run(example: str):
    """Each example defines one test, which passes."""
    namespace: dict[str, Any] = {}
    exec(compile(example, "tests/README.md", "exec"), namespace)
    (test,) = (value for name, value in namespace.items() if name.startswith("test_"))
    if inspect.iscoroutinefunction(test):
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(test())
    else:
        test()


def test_there_are_three_examples():
    """The page keeps its examples."""
    assert len(EXAMPLES) == 3


@pytest.mark.parametrize(("purpose", "helpers", "modules"), ROWS, ids=[row[0] for row in ROWS])
def test_the_helpers_of_the_table_exist(purpose: str, helpers: str, modules: str):
    """Names of classes and functions are found in the modules of their row."""
    found = [import_module(f"tests.support.{name}") for name in re.findall(r"`(\w+)`", modules)]
    names = [
        name for name in re.findall(r"`@?(\w+)[`(]", helpers) if not name.islower() or f"{name}(" in helpers
    ]
    known = {name for module in found for name in dir(module)}
    methods = {name for module in found for kind in vars(module).values() for name in dir(kind)}
    assert names
    assert set(names) <= known | methods


def test_every_module_of_the_harness_is_in_the_table():
    """Except those that a single page or test needs."""
    special = {"engine_kills", "engine_process", "grpcurl", "paths", "shown_calls", "openai_payloads"}
    special |= {"fault_page", "fault_rows", "fault_rows_anthropic", "fault_rows_grpc", "fault_rows_harmless"}
    special |= {"simulator_outcomes", "simulator_table"}
    listed = set(re.findall(r"`(\w+)`", " ".join(modules for _, _, modules in ROWS)))
    existing = {path.stem for path in (ROOT / "tests" / "support").glob("*.py")} - {"__init__"}
    assert existing == listed | special, "name each new module in the table of tests/README.md, or above"
