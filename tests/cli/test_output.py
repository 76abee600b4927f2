"""What stands around a command: terminals of all kinds, pipes that close, disks that are full."""

from __future__ import annotations

import os
import pty
from pathlib import Path

import pytest

from tests.support.commands import running, serving, shell, state_of, tokengrpc


@pytest.fixture(scope="module")
def server():
    with serving("--pace", "50") as started:
        yield started


def shown_at_a_terminal(server, *arguments, stream, **variables) -> bytes:
    """What a short command writes to a stream that is a terminal."""
    ours, theirs = pty.openpty()
    environ = {"TOKENGRPC_TARGET": server.target, "NO_COLOR": "", "TERM": "xterm", **variables}
    with running(*arguments, variables=environ, **{stream: theirs}) as process:
        os.close(theirs)
        process.communicate()
        shown = os.read(ours, 4096)
        os.close(ours)
    return shown


def test_help_into_a_pipe_that_is_closed_is_no_failure():
    """As `--help | head -1` does: whoever closed it has seen enough."""
    with running("--help") as process:
        process.stdout.close()
        err = process.stderr.read()
        assert (process.wait(), err) == (0, b"")


def test_help_without_colours_has_no_styles():
    """NO_COLOR and TERM=dumb, whatever else the terminal can."""
    for variables in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b" not in tokengrpc("--help", FORCE_COLOR="1", **variables).stdout
    assert "\x1b" in tokengrpc("--help", FORCE_COLOR="1", TERM="xterm", NO_COLOR="").stdout


@pytest.mark.parametrize(
    "arguments", ["--help", "--version", "config", "serve --listen 127.0.0.1:0", "count a"]
)
@pytest.mark.parametrize("stdout", [">/dev/full", ">&-"])
def test_a_stdout_that_takes_nothing_is_one_line_and_exit_code_1(server, arguments, stdout):
    """A full disk, or no stdout at all."""
    if "full" in stdout and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    done = shell(f"{arguments} {stdout}", TOKENGRPC_TARGET=server.target)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("redirection", ["2>&-", "<&-"])
def test_other_streams_may_be_closed(server, redirection):
    """Nothing of the answer is lost."""
    done = shell(f"count --raw 'hello there' {redirection}", TOKENGRPC_TARGET=server.target)
    assert (done.returncode, done.stdout) == (0, "2 tokens, counted for builtin\n")


@pytest.mark.parametrize("stdout", [">/dev/full", ">&-"])
@pytest.mark.parametrize("more", ["", "--json"])
def test_a_stdout_that_takes_nothing_cancels_the_generation(server, stdout, more):
    """One line says why."""
    if "full" in stdout and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    name = f"unwritten{len(stdout)}{more}"
    done = shell(f"stream a --max-tokens 2000 --id {name} {more} {stdout}", TOKENGRPC_TARGET=server.target)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: cannot write to stdout: ")
    assert state_of(server, name) == "GENERATION_STATE_CANCELLED"


@pytest.mark.parametrize(
    "variables", [{"NO_COLOR": "1", "TERM": "xterm"}, {"TERM": "dumb"}, {"TERM": "xterm"}]
)
def test_remarks_are_dim_unless_styles_are_unwanted(server, variables):
    """At a terminal; NO_COLOR and TERM=dumb are respected."""
    shown = shown_at_a_terminal(server, "stream", "a", "--max-tokens", "2", stream="stderr", **variables)
    assert b"MAX_TOKENS" in shown
    assert (b"\x1b" in shown) == (variables == {"TERM": "xterm"})


def test_models_fit_a_narrow_terminal(server):
    """What a model can is wrapped below its row, which stays a row."""
    shown = shown_at_a_terminal(server, "models", stream="stdout", COLUMNS="60", LINES="24").decode()
    header, row, *abilities = shown.splitlines()
    assert (header.split()[0], row.split()[0]) == ("model", "builtin")
    assert 1 < len(abilities) < 5
    assert all(line.startswith("  ") and len(line) <= 60 for line in abilities)
