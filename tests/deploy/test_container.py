"""A container of the image: read-only, without a network, and with the server as process 1.

`make image-test` runs these tests with the files of the image. Otherwise this machine's Python runs the
checkout.
"""

from __future__ import annotations

import os
import re
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import until
from tests.support.containers import child_of, wait_until_ready
from tests.support.image import INSECURE
from tests.support.tls import make_certificate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.support.containers import Container
    from tests.support.image import Image

pytestmark = pytest.mark.timeout(900)

DATA = "/var/lib/tokengrpc"
# Of the image, and one that a platform chooses, without a name and in the group 0.
USERS = ("65532:65532", "1000680000:0")
# Prints the rights of process 1, and the network devices.
RIGHTS = """
status = dict(line.split(":\\t", 1) for line in open("/proc/1/status").read().splitlines())
print([status[name].split() for name in ("Uid", "CapEff", "NoNewPrivs")])
print(sorted(line.split(":")[0].strip() for line in open("/proc/net/dev").readlines()[2:]))
"""
PROCESSES = 'import os; print(sorted(int(name) for name in os.listdir("/proc") if name.isdigit()))'


@contextmanager
def serving(
    image: Image, environment: Mapping[str, str] = INSECURE, **options: object
) -> Iterator[Container]:
    """Starts the image, and yields the container when its server is ready."""
    with image.start(environment=environment, **options) as container:
        wait_until_ready(container)
        yield container


def data_volume(folder: Path, user: str) -> tuple[str, str, bool]:
    """Returns a volume for the server's data that belongs to the user."""
    folder.mkdir()
    os.chown(folder, *map(int, user.split(":")))
    return str(folder), DATA, False


def open_writer(pipe: Path) -> int | None:
    """Opens a named pipe whose reader then waits for what is written. Returns None if it has no reader."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


@pytest.mark.parametrize("user", USERS, ids=["of the image", "chosen by a platform"])
def test_it_serves_with_a_read_only_root_and_no_network(image: Image, tmp_path: Path, user: str) -> None:
    """Streams, and answers its health check. Its user may write to the data and to /tmp alone."""
    volumes = [data_volume(tmp_path / "data", user)]
    with serving(
        image, user=user, volumes=volumes, environment=INSECURE | {"TOKENGRPC_DATA_DIR": DATA}
    ) as container:
        answer = container.execute("tokengrpc", "stream", "hello", "--max-tokens", "5")
        assert (answer.returncode, answer.stdout) == (0, "I am the builtin engine\n"), answer.stderr
        assert container.check_health().returncode == 0
        uid = user.partition(":")[0]
        assert container.writable_folders() == ["/tmp", DATA]
        rights, devices = container.execute("python3", "-c", RIGHTS).stdout.splitlines()
        assert rights == f"[['{uid}', '{uid}', '{uid}', '{uid}'], ['0000000000000000'], ['1']]"
        assert devices == "['lo']"
        assert container.stop() == 0


def test_it_does_not_serve_unprotected_unless_it_is_told_to(image: Image) -> None:
    """Without TLS and keys, it ends with the exit code of wrong settings, and one line says what to do."""
    with image.start() as container:
        assert container.process.wait(60) == 2
        assert "--insecure" in container.log()


def test_the_health_check_works_with_tls(image: Image, tmp_path: Path) -> None:
    """Because it asks the admin port. Certificates are volumes."""
    certificate = make_certificate(tmp_path)
    files = {"/run/tls/tls.crt": certificate, "/run/tls/ca.crt": certificate.with_suffix(".crt")}
    settings = {
        "TOKENGRPC_TLS_CERT_FILE": "/run/tls/tls.crt",
        "TOKENGRPC_TLS_CLIENT_CA_FILE": "/run/tls/ca.crt",
    }
    volumes = [(str(path), target, True) for target, path in files.items()]
    with serving(image, volumes=volumes, temporary=("/run", "/tmp"), environment=settings) as container:
        assert container.check_health().returncode == 0


def test_a_stopped_container_lets_its_streams_end(image: Image) -> None:
    """After the stop signal, the health check fails at once. The last stream ends, and the exit code is 0."""
    with serving(image, environment=INSECURE | {"TOKENGRPC_PACE": "20"}) as container:
        stream = container.executing("tokengrpc", "stream", "hello", "--id", "long", "--max-tokens", "2000")
        assert stream.stdout is not None
        assert stream.stdout.read(1)
        os.kill(container.pid, signal.SIGTERM)
        until(lambda: container.check_health().returncode == 4, "the health check fails")
        assert container.process.poll() is None
        container.execute("tokengrpc", "cancel", "long")  # may be killed, because the container ends now
        assert container.process.wait(60) == 0
        assert '"finish_reason": "CANCELLED"' in container.log()
        stream.communicate(timeout=60)


def test_a_container_can_be_stopped_before_it_is_ready(image: Image, tmp_path: Path) -> None:
    """The kernel drops SIGTERM if process 1 does not handle it; engines then wait ten seconds to kill it."""
    config = tmp_path / "config.toml"
    os.mkfifo(config)
    with image.start(
        "serve", "--config", "/run/config.toml", volumes=[(str(config), "/run/config.toml", True)]
    ) as container:
        writer = until(lambda: open_writer(config), "the server reads its settings")
        os.kill(container.pid, signal.SIGTERM)
        assert container.process.wait(30) == 143
        os.close(writer)


def test_health_checks_leave_no_processes_behind(image: Image) -> None:
    """Nor does one that is killed because it takes too long. The server starts no processes itself."""
    with serving(image) as container:
        for _ in range(3):
            assert container.check_health().returncode == 0
        command = container.executing(*image.config.health_check)
        os.kill(until(lambda: child_of(command), "the check has started"), signal.SIGKILL)
        command.communicate()
        seen = container.execute("python3", "-c", PROCESSES).stdout
        assert re.fullmatch(r"\[1, \d+\]\n", seen), seen
