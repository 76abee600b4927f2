"""A log stream that is closed, full, broken or unread: calls, health and SIGTERM work as on a good day."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tokenstreaming.v1 import token_stream_pb2 as api
from tokenstreaming.v1 import token_stream_pb2_grpc as stubs

from tests.support.admin_pages import fetch, parse, series
from tests.support.commands import PROGRAM, running, until
from tests.support.ports import reserved_port

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

# Two log lines each, together more than a pipe holds.
CALLS = 200
IN_PARALLEL = 8


@contextmanager
def unusable_stderr(kind: str) -> Iterator[int]:
    """A file descriptor that cannot take what a server logs."""
    if kind == "full":
        if not Path("/dev/full").exists():
            pytest.skip("no /dev/full here")
        descriptors = [os.open("/dev/full", os.O_WRONLY)]
    else:
        reader, writer = os.pipe()
        descriptors = [writer]
        if kind == "broken":
            os.close(reader)
        else:
            descriptors.append(reader)
    try:
        yield descriptors[0]
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


@contextmanager
def serving_with_stderr(
    kind: str, log_format: str, *more: str
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server that logs every call to that stderr, and its address."""
    # `closed`: as `2>&-` of a shell.
    prefix = ("sh", "-c", 'exec "$@" 2>&-', "sh", *PROGRAM) if kind == "closed" else PROGRAM
    arguments = ("serve", "--listen", "127.0.0.1:0", "--log-level", "info", "--log-format", log_format, *more)
    with (
        unusable_stderr(kind) as stderr,
        running(*arguments, prefix=prefix, stderr=stderr) as process,
    ):
        assert process.stdout is not None
        yield process, process.stdout.readline().decode().split()[-1]


@pytest.mark.parametrize(
    ("kind", "log_format"),
    [("closed", "json"), ("full", "json"), ("broken", "json"), ("unread", "json"), ("unread", "console")],
)
def test_an_unusable_stderr_changes_nothing(kind: str, log_format: str) -> None:
    """Every call ends with `finished` and OK, health is SERVING, and SIGTERM ends the process with 0.

    Lines that are lost are counted.
    """
    request = api.StreamTokensRequest(prompt="Hi", max_output_token_count=2)
    admin = reserved_port()
    with serving_with_stderr(kind, log_format, "--admin-listen", f"127.0.0.1:{admin}") as (process, target):
        with grpc.insecure_channel(target) as channel:
            stub = stubs.TokenStreamStub(channel)

            def call(_: int) -> bool:
                *_, last = stub.StreamTokens(request, timeout=60)
                return last.HasField("finished")

            with ThreadPoolExecutor(IN_PARALLEL) as threads:
                assert sum(threads.map(call, range(CALLS))) == CALLS
            health = health_pb2_grpc.HealthStub(channel)
            status = health.Check(health_pb2.HealthCheckRequest(), timeout=60).status
            assert status == health_pb2.HealthCheckResponse.SERVING
        if kind != "unread":  # up to 10,000 lines wait for a reader

            def counted() -> bool:
                return (
                    parse(fetch(admin, "/metrics")[1])[series("tokengrpc_log_lines_dropped_total")] >= CALLS
                )

            until(counted, "each line is counted as dropped")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
