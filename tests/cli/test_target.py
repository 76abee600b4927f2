"""Where a command looks for its server, and what it says of one that does not answer."""

from __future__ import annotations

import socket
import threading

import pytest

from tests.support.commands import CLOSED, tokengrpc
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
def test_a_target_that_makes_no_sense_is_wrong_usage(target):
    """It would be looked up as a name; `probe` has its own exit code for it."""
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
def test_targets_of_grpc_are_taken(target):
    """As the client takes them."""
    assert check_target(target) == target


def test_what_speaks_no_grpc_is_told_as_what_was_seen():
    """Another server's port is no reason to start one."""

    def greet() -> None:
        # Until the listener is shut down.
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
        f"error: UNAVAILABLE: what listens at {address} speaks no gRPC without TLS ("
    )
    assert "serve" not in done.stderr


@pytest.mark.parametrize(
    ("seen", "line"),
    [
        (
            "errors resolving a:1: [field:hostname lookup error:address lookup failed for a:1]",
            "the name in a:1 cannot be resolved: check it, or name another with --target",
        ),
        (
            "failed to connect to all addresses; last error: UNKNOWN: ipv4:1.2.3.4:1: No route to host",
            "a:1 cannot be reached (UNKNOWN: ipv4:1.2.3.4:1: No route to host): check the address",
        ),
        (
            "failed to connect to all addresses; last error: UNKNOWN: x: Connection refused",
            "no server answers at a:1. Start one with `tokengrpc serve`, or name another with --target",
        ),
    ],
)
def test_a_server_that_cannot_be_reached_is_told_by_what_grpc_saw(seen, line):
    """Only a refused connection says that there is no server."""
    assert unreachable("a:1", seen) == f"UNAVAILABLE: {line}"


@pytest.mark.parametrize(
    "arguments", [["stream", "a"], ["chat"], ["count", "a"], ["models"], ["get", "a"], ["cancel", "a"]]
)
def test_without_a_server_the_line_says_how_to_start_one(arguments):
    """At once: a person can repeat it."""
    done = tokengrpc(*arguments, "--target", CLOSED)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: UNAVAILABLE: no server answers at {CLOSED}. "
        "Start one with `tokengrpc serve`, or name another with --target\n"
    )
