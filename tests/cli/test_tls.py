"""Client commands against a server with TLS."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.commands import tokengrpc
from tests.support.harness import serving
from tests.support.tls import MEETINGS, Certificates

FLAGS = {"ca_file": "--ca-file", "cert_file": "--cert-file", "key_file": "--key-file"}

# What the commands say about each meeting.
SAID = {
    "wrong authority": "is refused (unable to get local issuer certificate): check its names and dates, and ",
    "expired certificate": "is refused (certificate has expired): check its names and dates, and ",
    "certificate of another host": "is refused (Hostname Verification Check failed): check its names",
    "client without TLS": "does not speak plaintext gRPC (",
    "server without TLS": "does not speak TLS: leave out --tls and --ca-file, or check the port",
    "no client certificate": "pass a certificate that the server accepts with --cert-file",
    "expired client certificate": "pass a certificate that the server accepts with --cert-file",
    "client certificate of another authority": "pass a certificate that the server accepts with --cert-file",
}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


def flags_of(files):
    return [part for name, file in (files or {}).items() for part in (FLAGS[name], file)]


async def run(server, *arguments, **variables):
    """Runs a command beside the server, which runs in this event loop."""
    return await asyncio.to_thread(tokengrpc, *arguments, TOKENGRPC_TARGET=server.target, **variables)


async def test_commands_take_files(certificates):
    """As flags, or as variables."""
    files = certificates.of_client(name="client")
    variables = {f"TOKENGRPC_TARGET_{name.upper()}": file for name, file in files.items()}
    async with serving(tls=certificates.of_server(requires_client=True)) as server:
        for command in (["stream", "hi", "--max-tokens", "3"], ["models"], ["probe"]):
            done = await run(server, *command, *flags_of(files))
            assert done.returncode == 0, done.stderr
        done = await run(server, "models", **variables)
        assert done.returncode == 0, done.stderr


async def test_tls_without_files_trusts_the_system(certificates):
    """Which does not know the authority."""
    async with serving(tls=certificates.of_server()) as server:
        for done in (
            await run(server, "models", "--tls"),
            await run(server, "models", TOKENGRPC_TARGET_TLS="1"),
        ):
            assert done.returncode == 1
            assert "the certificate of" in done.stderr


async def test_a_failed_handshake_is_one_line(certificates):
    """With the cause and what to do, in words of the commands."""
    lines = await asyncio.gather(
        *(failed(certificates, meeting, "models", 1) for meeting in MEETINGS.values())
    )
    for name, line in zip(MEETINGS, lines, strict=True):
        assert SAID[name] in line


async def test_probe_has_its_own_exit_code(certificates):
    """Without a connection, whatever the reason."""
    name = "no client certificate"
    assert SAID[name] in await failed(certificates, MEETINGS[name], "probe", 2)


async def failed(certificates, meeting, command, code):
    """Returns what a command says to a server with which it does not agree about TLS."""
    files = certificates.of_client(meeting.trusts, meeting.client)
    settings = certificates.of_server(meeting.server, requires_client=meeting.requires_client)
    async with serving(tls=settings) as server:
        done = await run(server, command, *flags_of(files))
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("error: UNAVAILABLE: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--ca-file", "the file absent cannot be read: No such file or directory"),
        ("--cert-file", "the file absent cannot be read: No such file or directory"),
        ("--key-file", "absent is the key of a certificate, which is missing"),
    ],
)
def test_a_file_that_cannot_be_used_is_wrong_usage(flag, message):
    """The flag and its variable are named. `probe` has its own exit code."""
    for command, code in (("models", 2), ("probe", 1)):
        done = tokengrpc(command, flag, "absent")
        variable = "TOKENGRPC_TARGET" + flag.removeprefix("-").replace("-", "_").upper()
        assert done.returncode == code
        assert done.stderr == (
            f"error: Invalid value for {flag} (or {variable}): {message}. See `tokengrpc {command} --help`\n"
        )
