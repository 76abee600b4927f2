"""The target of a command, and the errors for a server that does not answer."""

from __future__ import annotations

import re
import socket
import threading

import pytest

from tests.support.commands import CLOSED, running, serving, tokengrpc
from tokengrpc.cli.target import check_target, unreachable


@pytest.mark.parametrize(
    "target",
    [
        "",
        "localhost",
        "http://127.0.0.1:50051",
        "host:0",
        "host:65536",
        "a b:1",
        "dns:///name",
        "unix:",
        "x:/y",
    ],
)
def test_an_invalid_target_is_wrong_usage(target):
    """The target never reaches gRPC, which would try to resolve it. `probe` has its own usage exit code."""
    done = tokengrpc("models", "--target", target)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: Invalid value for --target (or TOKENGRPC_TARGET): "
        "must be HOST:PORT, such as 127.0.0.1:50051, "
        "or a gRPC target such as dns:///name:50051 or unix:/path. See `tokengrpc models --help`\n"
    )
    assert tokengrpc("probe", "--target", target).returncode == 1


@pytest.mark.parametrize(
    "target",
    [
        "host:1",
        "[::1]:50051",
        "dns:///host:1",
        "dns://8.8.8.8/host:1",
        "dns:host:1",
        "unix:/a",
        "ipv4:1.2.3.4:5",
    ],
)
def test_targets_of_grpc_are_accepted(target):
    """The command line accepts the targets that the client accepts."""
    assert check_target(target) == target


def test_a_server_without_grpc_has_its_own_error():
    """If another kind of server uses the port, the error does not suggest to start a server."""

    def greet() -> None:
        # The loop ends when the listener is shut down.
        while True:
            try:
                connection, _ = other.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"220 mail.example ESMTP\r\n")

    with socket.create_server(("127.0.0.1", 0)) as other:
        greeter = threading.Thread(target=greet)
        greeter.start()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        done = tokengrpc("models", "--target", address)
        other.shutdown(socket.SHUT_RDWR)
        greeter.join()
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"error: UNAVAILABLE: the program listening at {address} does not speak plaintext gRPC ("
    )
    assert "serve" not in done.stderr


@pytest.mark.parametrize(
    ("details", "line"),
    [
        (
            "errors resolving a:1: [field:hostname lookup error:address lookup failed for a:1]",
            "the name in a:1 cannot be resolved: check it, or pass another address with --target",
        ),
        (
            "failed to connect to all addresses; last error: UNKNOWN: ipv4:1.2.3.4:1: No route to host",
            "a:1 cannot be reached (UNKNOWN: ipv4:1.2.3.4:1: No route to host): check the address",
        ),
        (
            "failed to connect to all addresses; last error: UNKNOWN: x: Connection refused",
            "no server is listening at a:1: start one with `tokengrpc serve`, "
            "or pass another address with --target",
        ),
    ],
)
def test_the_cause_is_read_from_grpcs_message(details, line):
    """Only a refused connection means that no server is listening."""
    assert unreachable("a:1", details) == f"UNAVAILABLE: {line}"


@pytest.mark.parametrize(
    "arguments", [["stream", "a"], ["chat"], ["count", "a"], ["models"], ["get", "a"], ["cancel", "a"]]
)
def test_without_a_server_the_line_says_how_to_start_one(arguments):
    """Without patience, the command fails immediately, because the user can repeat it."""
    patience = ["--patience", "0"] if arguments[0] in {"stream", "chat"} else []
    done = tokengrpc(*arguments, *patience, "--target", CLOSED)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: UNAVAILABLE: no server is listening at {CLOSED}: "
        "start one with `tokengrpc serve`, or pass another address with --target\n"
    )


def test_a_stream_waits_for_its_server():
    """The command says at once that it waits, and streams when the server is there."""
    with socket.socket() as placeholder:
        placeholder.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{placeholder.getsockname()[1]}"
    with running("stream", "a", "--max-tokens", "3", "--patience", "60", "--target", target) as stream:
        assert stream.stderr.readline().decode() == f"{target} is not reachable; trying again for 60 s\n"
        with serving("--listen", target):
            out, err = stream.communicate(timeout=60)
    assert (stream.returncode, err.decode().split(",")[0]) == (0, "3 tokens")
    assert out


def test_patience_has_an_end():
    """The last line is the same as without patience."""
    done = tokengrpc("chat", "--patience", "0.3", "--target", CLOSED)
    first, last = done.stderr.splitlines()
    assert first == f"{CLOSED} is not reachable; trying again for 0.3 s"
    assert last.startswith(f"error: UNAVAILABLE: no server is listening at {CLOSED}: ")
    assert done.returncode == 1


def test_a_lost_stream_names_the_command_that_reads_the_rest():
    """The server is killed in the middle of an answer, and the patience ends before it is back."""
    with running("serve", "--listen", "127.0.0.1:0", "--pace", "20", "--log-level", "error") as server:
        target = server.stdout.readline().decode().split()[-1]
        with running("stream", "a", "--id", "lost", "--patience", "0.1", "--target", target) as stream:
            stream.stdout.read(1)
            server.kill()
            _, errors = stream.communicate()
    assert stream.returncode == 1
    assert re.search(rb"resume with the cursor \(`tokengrpc stream --resume tg1\.\S+\.lost`\)\n$", errors)
