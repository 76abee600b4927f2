"""`tokengrpc serve --listen unix:/PATH`: the socket file from its creation to its removal."""

from __future__ import annotations

import os
import signal
import stat

import grpc
import pytest

from tests.support.commands import running, serving, tokengrpc
from tokengrpc.cli.target import unreachable
from tokengrpc.config import ConfigError
from tokengrpc.rpc.listening import listen


def test_a_server_on_a_socket_file(tmp_path):
    """Clients reach it, and its file is removed when it stops."""
    path = tmp_path / "tokens.sock"
    with serving("--listen", f"unix:{path}") as server:
        assert server.target == f"unix:{path}"
        done = server("stream", "a", "--max-tokens", "3")
        assert (done.returncode, done.stderr.split(",")[0]) == (0, "3 tokens")
        assert server("probe", "--service", "readiness").returncode == 0
        assert server.stop() == 0
    assert not path.exists()


def test_the_file_of_a_killed_server_is_replaced(tmp_path):
    """It is left behind by SIGKILL, and nobody listens on it."""
    address = f"unix:{tmp_path / 'tokens.sock'}"
    with running("serve", "--listen", address) as process:
        assert process.stdout.readline().decode() == f"listening on {address}\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (tmp_path / "tokens.sock").is_socket()
    with serving("--listen", address) as server:
        assert server("models").returncode == 0


def test_the_file_of_a_running_server_is_not_taken(tmp_path):
    """By itself, gRPC would take it. The second server ends with one line, and the first one still serves."""
    address = f"unix:{tmp_path / 'tokens.sock'}"
    with serving("--listen", address) as first:
        second = tokengrpc("serve", "--listen", address)
        assert (second.returncode, second.stdout) == (2, "")
        assert second.stderr == (
            f"error: listen: another process listens on {address}; choose another path\n"
        )
        assert first("models").returncode == 0


def test_other_files_are_not_replaced(tmp_path):
    """One line says what is in the way."""
    file = tmp_path / "notes.txt"
    file.write_text("keep me")
    taken = tokengrpc("serve", "--listen", f"unix:{file}")
    assert taken.returncode == 2
    assert taken.stderr.endswith("the file exists and is no socket; choose another path\n")
    assert file.read_text() == "keep me"
    missing = tokengrpc("serve", "--listen", f"unix:{tmp_path / 'no' / 'such'}")
    assert missing.returncode == 2
    assert missing.stderr.endswith(f"there is no folder {tmp_path / 'no'}; create it\n")


async def test_a_folder_that_may_not_be_entered(tmp_path):
    """The error names it. Root may enter any folder, so it becomes another user for the moment."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0)
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        with pytest.raises(ConfigError, match=f"this user may not enter {folder}; check its permissions"):
            listen(grpc.aio.server(), f"unix:{folder / 'tokens.sock'}")
    finally:
        os.seteuid(user)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o755), (0o077, 0o700), (0o007, 0o770)])
def test_the_umask_decides_who_may_connect(tmp_path, umask, mode):
    """Who may write to the file may connect."""
    path = tmp_path / "tokens.sock"
    with running("serve", "--listen", f"unix:{path}", umask=umask) as process:
        assert process.stdout.readline()
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_client_without_permission_is_told_so():
    """In gRPC's words, the cause is at the end."""
    details = "failed to connect to all addresses; last error: UNKNOWN: unix:/run/t: Permission denied"
    assert unreachable("unix:/run/t", details) == (
        "UNAVAILABLE: this user may not connect to unix:/run/t: check the permissions of the socket file"
    )
