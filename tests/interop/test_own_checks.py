"""Each language's own tests and static checks, run with its own tools."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.paths import ROOT
from tests.support.toolchains import (
    BUILD_TIMEOUT,
    GO,
    GO_WITH_RACES,
    JAVA,
    NODE,
    Toolchain,
    build,
    require,
    run,
)

if TYPE_CHECKING:
    from pathlib import Path

CLIENTS = ROOT / "clients"
NPM_INSTALL = ("npm", "install", "--no-package-lock", "--no-audit", "--no-fund")


@dataclass(frozen=True, kw_only=True)
class Check:
    """A command that must exit with 0, and a pattern in its output that shows that tests ran."""

    toolchain: Toolchain
    folder: Path
    before: tuple[tuple[str, ...], ...] = ()
    command: tuple[str, ...]
    says: str = ""

    def __str__(self) -> str:
        return f"{self.folder.relative_to(ROOT)}: {' '.join(self.command)}"


CHECKS: Final = (
    *(
        Check(toolchain=GO, folder=folder, command=("go", "vet", "./..."))
        for folder in (ROOT / "generated/go", CLIENTS / "go", ROOT / "examples/code_assistant")
    ),
    *(
        Check(
            toolchain=GO_WITH_RACES,
            folder=folder,
            command=("go", "test", "-race", "./..."),
            says=r"^ok\s+github\.com/tokengrpc/",
        )
        for folder in (CLIENTS / "go", ROOT / "examples/code_assistant")
    ),
    Check(
        toolchain=JAVA,
        folder=CLIENTS / "java",
        command=("mvn", "-B", "-Dstyle.color=never", "test"),
        says=r"Tests run: [1-9]\d*, Failures: 0, Errors: 0, Skipped: 0$",
    ),
    Check(
        toolchain=NODE,
        folder=CLIENTS / "typescript",
        before=(NPM_INSTALL, ("npm", "run", "build")),
        command=("npm", "test"),
        says=r"pass [1-9]",
    ),
)


@pytest.mark.timeout(2 * BUILD_TIMEOUT)
@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_it_passes(check: Check) -> None:
    """The command succeeds; if it is a test runner, its output shows that tests ran."""
    require(check.toolchain)
    build(*check.before, folder=check.folder)
    code, said = run(check.command, check.folder)
    assert code == 0, said[-4_000:]
    assert re.search(check.says, said, re.MULTILINE), said[-4_000:]
