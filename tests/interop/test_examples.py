"""The four examples: runs the command in each README against a real server, and checks its output."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from typing import Final

import pytest

from tests.support.commands import serving
from tests.support.paths import ROOT
from tests.support.toolchains import BUILD_TIMEOUT, GO, JAVA, NODE, Toolchain, for_running, require


@dataclass(frozen=True, kw_only=True)
class Example:
    """An example.

    `pace` is the server's, in tokens per second. `prints` and `tells` are patterns of its stdout and stderr.
    `option` is a program and its option for the server's address; without it, TOKENGRPC_TARGET is set.
    """

    folder: str
    toolchain: Toolchain | None = None
    pace: int
    option: tuple[str, str] | None = None
    stdin: str = ""
    prints: str
    tells: str


EXAMPLES: Final = (
    Example(
        folder="chat",
        pace=400,
        option=("chat.py", "--target"),
        stdin="What is token streaming?\nAnd what is a generation?\n",
        prints=r"> \w.*\n\[\d+ tokens, END\]\n\n> \w.*\n\[\d+ tokens, END\]\n\n> \n$",
        tells=r"^$",
    ),
    Example(
        folder="code_assistant",
        toolchain=GO,
        pace=40,
        option=("run .", "-target"),
        prints=r"^\w.*\.\n$",
        # Before that, Go may report its downloads.
        tells=r"(^|\n)stopped when the first sentence was complete, after \d+ tokens: up to \d+ saved",
    ),
    Example(
        folder="deadline_story",
        toolchain=JAVA,
        pace=5,
        prints=r"^\w.*\n$",
        tells=r"\nDEADLINE \(the deadline passed\): [1-9]\d* tokens in, [1-9]\d* out, after \d\.\d+ s\n$",
    ),
    Example(
        folder="live_summary",
        toolchain=NODE,
        pace=400,
        prints=r"^\w.*\n$",
        tells=r"[1-9]\d* tokens read, [1-9]\d* written · .* · END · counted by ENGINE\s*$",
    ),
)


def shown_command(folder: str) -> str:
    """Returns the first command in an example's README."""
    text = (ROOT / "examples" / folder / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^```console\n\$ (.+)$", text, re.MULTILINE)
    assert found is not None, "no command is shown"
    return found[1].split(" > ")[0].replace(".venv/bin/python", shlex.quote(sys.executable))


@pytest.mark.timeout(BUILD_TIMEOUT + 120)
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.folder)
def test_it_does_what_its_readme_shows(example: Example) -> None:
    """Runs it from the top of the repository: the answer on stdout, the rest on stderr."""
    if example.toolchain is not None:
        require(example.toolchain)
    command = shown_command(example.folder)
    with serving("--pace", str(example.pace)) as server:
        if example.option is not None:
            program, option = example.option
            assert program in command
            command = command.replace(program, f"{program} {option} {server.target}")
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=ROOT,
            env=for_running(TOKENGRPC_TARGET=server.target),
            input=example.stdin,
            capture_output=True,
            text=True,
            timeout=BUILD_TIMEOUT,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert re.search(example.prints, done.stdout, re.DOTALL), done.stdout
    assert re.search(example.tells, done.stderr, re.DOTALL), done.stderr


def test_no_example_is_left_out() -> None:
    """Each example's folder has an entry, or tests of its own in `tests/browsers`."""
    assert sorted(["browser_bridge", *(example.folder for example in EXAMPLES)]) == sorted(
        folder.name for folder in (ROOT / "examples").iterdir() if (folder / "README.md").exists()
    )
