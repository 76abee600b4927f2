"""On a machine without a language's toolchain, tests are skipped, or fail if all toolchains are required."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.paths import ROOT
from tests.support.toolchains import for_building

if TYPE_CHECKING:
    from pathlib import Path

GO_CHECKS = ("tests/interop/test_own_checks.py", "-k", "vet")


def checks_of_go(path: Path, **variables: str) -> tuple[int, str]:
    """Runs the tests with only this folder on PATH. Returns the exit code and the output."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *GO_CHECKS],
        cwd=ROOT,
        env={**for_building(), "TOKENGRPC_REQUIRE_ALL": "", "PATH": str(path), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


def old_go(path: Path) -> None:
    """A Go as old as Debian 12's."""
    program = path / "go"
    program.write_text("#!/bin/sh\necho go1.19.8\n", encoding="utf-8")
    program.chmod(0o755)


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda path: None, "Go 1.26 or newer is needed: go not found"),
        (old_go, "Go 1.26 or newer is needed: there is 1.19.8"),
    ],
    ids=["none", "an old one"],
)
def test_a_missing_toolchain_skips_with_the_reason_or_fails(tmp_path, prepare, reason):
    """The summary has the reason. With TOKENGRPC_REQUIRE_ALL=1, which .ci/run sets, it is a failure."""
    prepare(tmp_path)
    code, said = checks_of_go(tmp_path)
    assert code == 0
    assert reason in said
    assert "3 skipped" in said
    code, said = checks_of_go(tmp_path, TOKENGRPC_REQUIRE_ALL="1")
    assert code == 1
    assert reason in said
    assert "3 failed" in said


def test_ci_requires_all_toolchains():
    """No test is skipped there."""
    assert "\nexport TOKENGRPC_REQUIRE_ALL=1\nexec make check " in (ROOT / ".ci/run").read_text(
        encoding="utf-8"
    )
