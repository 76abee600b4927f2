"""A server that other machines can reach has TLS and authentication, or says that it is insecure."""

from __future__ import annotations

import json
import socket

import pytest
from structlog.testing import capture_logs

from tests.support.commands import running, tokengrpc
from tests.support.tls import Authority
from tokengrpc.config import ConfigError, Settings, TenantSettings, TLSSettings
from tokengrpc.rpc.exposure import check_exposure, is_local

REACHABLE = "0.0.0.0:50051"
NO_TLS = "without TLS (keys, prompts and answers can be read on the network)"
NO_AUTHENTICATION = "without authentication (anybody can use all models)"
TLS = {"tls": TLSSettings(cert_file="server.crt")}
MUTUAL = {"tls": TLSSettings(cert_file="server.crt", client_ca_file="ca.crt")}
TENANTS = {"tenants": (TenantSettings(name="search", key_file="key"),)}


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("unix:/run/tokens.sock", True),
        ("127.0.0.1:1", True),
        ("127.8.9.1:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("[fe80::1]:1", False),
        ("localhost.example:1", False),
        ("tokens.example:1", False),
    ],
)
def test_loopback_and_unix_sockets_are_local(address, local):
    """Every other address and name counts as reachable from other machines."""
    assert is_local(address) is local


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({}, [NO_TLS, NO_AUTHENTICATION]),
        (TENANTS, [NO_TLS]),
        ({"authenticator": "plugin"}, [NO_TLS]),
        (TLS, [NO_AUTHENTICATION]),
        (TLS | TENANTS, []),
        (TLS | {"authenticator": "plugin"}, []),
        (MUTUAL, []),
    ],
)
def test_what_is_missing_stops_the_start_or_is_logged(settings, missing):
    """The line names what is missing and what to do. On loopback, nothing is needed."""
    with capture_logs() as lines:
        check_exposure(Settings(**settings), has_authenticator=False)
        if missing:
            with pytest.raises(ConfigError) as caught:
                check_exposure(Settings(listen=REACHABLE, **settings), has_authenticator=False)
            assert f"can reach {REACHABLE} {' and '.join(missing)}; " in str(caught.value)
            assert ("set tls.cert_file" in str(caught.value)) is (NO_TLS in missing)
            assert ("configure tenants" in str(caught.value)) is (NO_AUTHENTICATION in missing)
        assert not lines
        check_exposure(Settings(listen=REACHABLE, insecure=True, **settings), has_authenticator=False)
    assert [(line["log_level"], line["cause"]) for line in lines] == (
        [("warning", " and ".join(missing))] if missing else []
    )


def test_an_authenticator_that_is_passed_counts():
    """As an object, instead of the name of a plugin."""
    check_exposure(Settings(listen=REACHABLE, **TLS), has_authenticator=True)


def test_the_command_refuses_and_says_what_to_do():
    """One line, exit code 2, and nothing listens."""
    done = tokengrpc("serve", "--listen", "0.0.0.0:0")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: listen: other machines can reach 0.0.0.0:0 {NO_TLS} and {NO_AUTHENTICATION}; "
        "set tls.cert_file and tls.key_file, and configure tenants, an authenticator or tls.client_ca_file; "
        "or listen on 127.0.0.1; or pass --insecure if a proxy or mesh protects the port\n"
    )


@pytest.mark.parametrize("allowed", [["--insecure"], []])
def test_the_flag_or_the_variable_allows_it(allowed):
    """The start says what is insecure, at level warning."""
    variables = {} if allowed else {"TOKENGRPC_INSECURE": "true"}
    with running(
        "serve", "--listen", "0.0.0.0:0", "--log-format", "json", *allowed, variables=variables
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"listening on 0.0.0.0:")
        lines = (json.loads(line) for line in process.stderr)
        line = next(line for line in lines if line["event"].startswith("insecure: "))
    assert line["level"] == "warning"
    assert line["cause"] == f"{NO_TLS} and {NO_AUTHENTICATION}"


def test_with_tls_and_client_certificates_nothing_is_said(tmp_path):
    """A server on all interfaces that both sides trust."""
    authority = Authority(tmp_path)
    pair = authority.issue("server", "localhost")
    files = ("--tls-cert-file", pair.cert_file, "--tls-key-file", pair.key_file)
    with running("serve", "--listen", "0.0.0.0:0", *files, "--tls-client-ca-file", authority.file) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(b":")[2])
        with socket.create_connection(("127.0.0.1", port)):
            process.terminate()
            assert process.wait(30) == 0
            assert process.stderr is not None
            assert b"insecure" not in process.stderr.read()
