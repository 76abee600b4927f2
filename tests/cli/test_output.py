"""The environment of a command: terminals of all kinds, closed pipes, full disks."""

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


def terminal_output(server, *arguments, stream, **variables) -> bytes:
    """Returns the output of a short command on a stream that is a terminal."""
    ours, theirs = pty.openpty()
    environ = {"TOKENGRPC_TARGET": server.target, "NO_COLOR": "", "TERM": "xterm", **variables}
    with running(*arguments, variables=environ, **{stream: theirs}) as process:
        os.close(theirs)
        process.communicate()
        output = os.read(ours, 4096)
        os.close(ours)
    return output


def test_help_into_a_closed_pipe_is_not_a_failure():
    """`--help | head -1` closes the pipe before the help is complete."""
    with running("--help") as process:
        process.stdout.close()
        err = process.stderr.read()
        assert (process.wait(), err) == (0, b"")


def test_help_without_colours_has_no_styles():
    """NO_COLOR and TERM=dumb disable styles, even with FORCE_COLOR."""
    for variables in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b" not in tokengrpc("--help", FORCE_COLOR="1", **variables).stdout
    assert "\x1b" in tokengrpc("--help", FORCE_COLOR="1", TERM="xterm", NO_COLOR="").stdout


@pytest.mark.parametrize(
    "arguments", ["--help", "--version", "config", "serve --listen 127.0.0.1:0", "count a"]
)
@pytest.mark.parametrize("stdout", [">/dev/full", ">&-"])
def test_an_unwritable_stdout_is_one_line_and_exit_code_1(server, arguments, stdout):
    """Stdout is on a full disk, or closed."""
    if "full" in stdout and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    done = shell(f"{arguments} {stdout}", TOKENGRPC_TARGET=server.target)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("redirection", ["2>&-", "<&-"])
def test_stdin_and_stderr_may_be_closed(server, redirection):
    """The answer is still complete."""
    done = shell(f"count --raw 'hello there' {redirection}", TOKENGRPC_TARGET=server.target)
    assert (done.returncode, done.stdout) == (0, "2 tokens, counted for builtin\n")


@pytest.mark.parametrize("stdout", [">/dev/full", ">&-"])
@pytest.mark.parametrize("more", ["", "--json"])
def test_an_unwritable_stdout_cancels_the_generation(server, stdout, more):
    """One line on stderr has the reason."""
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
def test_notes_are_dim_unless_styles_are_disabled(server, variables):
    """On a terminal, notes are dim. NO_COLOR and TERM=dumb disable that."""
    output = terminal_output(server, "stream", "a", "--max-tokens", "2", stream="stderr", **variables)
    assert b"MAX_TOKENS" in output
    assert (b"\x1b" in output) == (variables == {"TERM": "xterm"})


def test_models_fit_a_narrow_terminal(server):
    """The capabilities are wrapped below the model's row. The row itself is not wrapped."""
    output = terminal_output(server, "models", stream="stdout", COLUMNS="60", LINES="24").decode()
    header, row, *capabilities = output.splitlines()
    assert (header.split()[0], row.split()[0]) == ("model", "builtin")
    assert 1 < len(capabilities) < 5
    assert all(line.startswith("  ") and len(line) <= 60 for line in capabilities)
