"""The environment of a command: terminals of all kinds, closed pipes, full disks."""

from __future__ import annotations

import json
import os
import pty
from pathlib import Path

import grpc
import pytest
from tokenstreaming.v1 import token_stream_pb2 as pb
from tokenstreaming.v1 import token_stream_pb2_grpc

from tests.support.commands import running, serving, shell, state_of


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


@pytest.mark.parametrize(
    "arguments", ["--help", "--version", "config", "serve --listen 127.0.0.1:0", "count a"]
)
@pytest.mark.parametrize("stdout", [">/dev/full", ">&-"])
def test_an_unwritable_stdout_is_one_line_and_exit_code_1(server, arguments, stdout):
    """Stdout is on a full disk, or closed. A server has logged its start by then."""
    if "full" in stdout and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    done = shell(f"{arguments} {stdout}", TOKENGRPC_TARGET=server.target)
    assert done.returncode == 1
    *logged, error = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert all(json.loads(line)["level"] in {"info", "warning"} for line in logged)
    assert not logged or arguments.startswith("serve")


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


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_label_is_one_line_of_the_output(server, is_terminal):
    """It neither controls the terminal nor looks like another field, not even in a pipe."""
    request = pb.StreamTokensRequest(
        generation_id=f"labelled-{is_terminal}",
        prompt="a",
        max_output_token_count=1,
        labels={"key": "value\nstate         FORGED\x1b[2J"},
    )
    with grpc.insecure_channel(server.target) as channel:
        list(token_stream_pb2_grpc.TokenStreamStub(channel).StreamTokens(request))
    if is_terminal:
        output = terminal_output(server, "get", request.generation_id, stream="stdout").decode()
    else:
        output = server("get", request.generation_id).stdout
    states = [line for line in output.splitlines() if line.startswith("state")]
    assert len(states) == 1
    assert "\x1b" not in output
    assert r"value\nstate         FORGED\x1b[2J" in output
