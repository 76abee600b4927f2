"""grpc-health-probe, as Kubernetes runs it: each service name over plaintext, with its exit code."""

from __future__ import annotations

import signal

import pytest

from tests.support.commands import CLOSED, serving, until
from tests.support.grpcurl import SERVICE, run
from tests.support.toolchains import BUILD_TIMEOUT

pytestmark = pytest.mark.timeout(BUILD_TIMEOUT + 60)

READY_NAMES = ("", "readiness", SERVICE)


def probe(target: str, name: str) -> tuple[int, str]:
    """Returns the exit code for a service name, and the output."""
    answer = run("grpc-health-probe", "-addr", target, "-service", name)
    return answer.exit_code, (answer.out + answer.err).strip()


def test_each_name_has_its_health():
    """All names serve. An unknown name is a failed call, as for Kubernetes' own probe."""
    with serving() as server:
        for name in (*READY_NAMES, "liveness"):
            assert probe(server.target, name) == (0, "status: SERVING")
        code, said = probe(server.target, "nobody")
        assert code == 3
        assert "NotFound" in said


def test_a_draining_server_is_alive_and_not_ready():
    """Exit code 4 from SIGTERM on, while a running stream continues."""
    with serving("--pace", "20") as server, server.running("stream", "a", "--max-tokens", "120") as stream:
        assert stream.stdout.read(1)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: probe(server.target, "")[0] == 4, "not serving")
        for name in READY_NAMES:
            code, said = probe(server.target, name)
            assert (code, "NOT_SERVING" in said) == (4, True)
        assert probe(server.target, "liveness")[0] == 0
        stream.communicate()
        assert stream.returncode == 0
        assert server.process.wait(30) == 0


def test_an_unreachable_server_has_its_own_exit_code():
    """Exit code 2: no connection."""
    code, said = probe(CLOSED, "")
    assert code == 2
    assert "failed to connect" in said
