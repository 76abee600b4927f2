"""The artefacts of each language, built once and only for the tests that use them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.paths import ROOT
from tests.support.toolchains import build

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="session")
def dist(pytestconfig: pytest.Config) -> Callable[[str], Path]:
    """Builds a language's artefacts, once per session: `dist("go")` runs `make dist-go`.

    With `--built-dist`, it builds nothing: the tests use what `make dist` has built.

    Returns the folder `dist/` of the checkout. Skip first, with `toolchains.require()`, if the language's
    toolchain may be missing.
    """

    def built(language: str) -> Path:
        if not pytestconfig.getoption("built_dist"):
            build(("make", "--no-print-directory", f"dist-{language}"), folder=ROOT)
        return ROOT / "dist"

    return built
