"""The programs of docs/other-languages.md, built and run with the commands of the page."""

from __future__ import annotations

import asyncio
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.commands import serving
from tests.support.paths import ROOT
from tests.support.tcp_proxy import TcpProxy
from tests.support.toolchains import (
    BUILD_TIMEOUT,
    CPP,
    NODE,
    PROTOC,
    RUBY,
    RUST,
    Toolchain,
    build,
    for_running,
    require,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE: Final = (ROOT / "docs/other-languages.md").read_text(encoding="utf-8")
TARGET: Final = "127.0.0.1:50051"
# After some tokens. Answers have 3,000 to 20,000 bytes.
CUT_AFTER_BYTES: Final = 1_500


@dataclass(frozen=True)
class Language:
    """A section of the page, and what its program needs.

    `takes_minutes` leaves it to `make other-languages`.
    """

    heading: str
    toolchain: Toolchain
    takes_minutes: bool = True

    @property
    def commands(self) -> Sequence[str]:
        """The lines that build the program, and the one that runs it."""
        return shown(self.heading, "sh").splitlines()

    @property
    def generation_id(self) -> str:
        """The id in the line that runs it."""
        return re.findall(r" (answer-\w+) ", self.commands[-1])[0]


LANGUAGES: Final = (
    Language("Rust", RUST),
    Language("C++", CPP),
    Language("Ruby", RUBY),
    Language("JavaScript without generated code", NODE, takes_minutes=False),
)


def shown(heading: str, kind: str) -> str:
    """Returns the first block of this kind in a section."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.search(rf"^```{kind}\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    assert found is not None, heading
    return found[1]


async def run(language: Language, target: str) -> tuple[int | None, str, str]:
    """Builds the program and runs it. Returns its exit code, its output and its errors."""
    require(language.toolchain)
    *to_build, to_run = language.commands
    build(("sh", "-ec", "\n".join(to_build)), folder=ROOT)
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", f"exec {to_run.replace(TARGET, target)}"),
        cwd=ROOT,
        env=for_running(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs the languages whose programs take minutes to build only on demand."""
    if "language" in metafunc.fixturenames:
        everything = metafunc.config.getoption("other_languages")
        chosen = [language for language in LANGUAGES if everything or not language.takes_minutes]
        metafunc.parametrize("language", chosen, ids=lambda language: language.heading.split()[0])


@pytest.mark.timeout(BUILD_TIMEOUT + 60)
async def test_a_program_resumes_after_a_cut(language: Language) -> None:
    """The connection is reset in the middle of the answer. The program prints every token, once."""
    with serving("--pace", "300") as server:
        async with TcpProxy(int(server.target.rpartition(":")[2])) as proxy:
            proxy.cut_after_bytes(CUT_AFTER_BYTES)
            code, printed, err = await run(language, proxy.target)
            assert code == 0, err
            assert (proxy.cut_count, proxy.accepted_count) == (1, 2)
        answer = server("stream", "--resume", language.generation_id, "--after", "0").stdout
    assert printed == answer


@pytest.mark.timeout(BUILD_TIMEOUT + 60)
async def test_a_program_reports_a_failed_generation(language: Language) -> None:
    """An engine is lost after 20 tokens: the program prints them and the error, and makes no further call."""
    with serving("--pace", "0", "--faults", '{"cut_at_token": 20}', "--log-level", "info") as server:
        code, printed, err = await run(language, server.target)
        answer = server("stream", "--resume", language.generation_id, "--after", "0").stdout
        assert server.stop() == 0
        calls = re.findall(r'"method": "(\w+)".*"event": "call"', server.log())
    assert code == 1
    assert printed.rstrip("\n") == answer.rstrip("\n")
    assert "the connection to engine builtin broke" in err
    assert calls == ["StreamTokens", "ResumeTokens"]


def test_the_stubs_of_cpp_are_generated_by_the_line_shown() -> None:
    """It needs no more than protoc and gRPC's plugin, and leaves out no imported file."""
    require(PROTOC)
    lines = [line for line in shown("C++", "sh").splitlines() if line.startswith(("mkdir", "protoc"))]
    build(("sh", "-ec", "\n".join(lines)), folder=ROOT)
    stubs = ROOT / "build/cpp"
    imported = {
        name
        for header in stubs.rglob("*.pb.h")
        for name in re.findall(
            r'^#include "((?:google/rpc|tokenstreaming)/.*)"$', header.read_text(), re.MULTILINE
        )
    }
    assert {"google/rpc/status.pb.h", "tokenstreaming/v1/token_stream.pb.h"} <= imported
    assert [name for name in imported if not (stubs / name).exists()] == []


def test_the_page_shows_the_programs_as_they_are() -> None:
    """Each block is a part of the file that stands above it."""
    blocks = re.findall(r"^\*\(in \[(\S+)\]\(\S+\)\)\*\n\n```\w+\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert len(blocks) == len(LANGUAGES) + 1
    for path, block in blocks:
        assert f"\n{block}" in (ROOT / path).read_text(encoding="utf-8"), path
