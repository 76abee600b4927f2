"""Runs a rendered container as a process: its command, its files where it mounts them, its ports.

Network and mounts are of namespaces of its own, so that ports and paths are the real ones, and nothing on
the machine changes. All file systems but its volumes are read-only.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, Self

import pytest

from tests.support.commands import PROGRAM, environment, running, until
from tests.support.toolchains import REQUIRE_ALL, go_program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NAMESPACES: Final = ("unshare", "--net", "--mount")
PARENTS: Final = ("/etc", "/run", "/tmp", "/var/lib")
"""Folders in which containers mount volumes. Each is covered by an overlay that ends with the namespace."""
# SIOCSIFFLAGS with IFF_UP, for machines without iproute2.
LOOPBACK: Final = (
    "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh14x', b'lo', 1))"
)
FETCH: Final = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"


def require_namespaces() -> None:
    """Skips the test if this machine allows no namespaces, with the reason.

    Fails it if nothing may be missing.
    """
    done = subprocess.run([*NAMESPACES, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        why = f"namespaces are needed, as root has them: {done.stderr.strip()}"
        (pytest.fail if REQUIRE_ALL else pytest.skip)(why)


class Pod:
    """A container that runs."""

    def __init__(self, process: subprocess.Popen[bytes], container: Mapping[str, Any], log: Path) -> None:
        self.process = process
        self._container = container
        self._log = log

    def inside(self, *command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in the pod's network, and waits for it."""
        return subprocess.run(
            [*self._entered(), *command],
            env=environment(**variables),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def running(self, *arguments: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """Starts a command of tokengrpc in the pod's network, which is killed when the block exits."""
        return running(*arguments, prefix=[*self._entered(), *PROGRAM])

    def page(self, path: str) -> str:
        """Returns an admin page."""
        return self.inside(sys.executable, "-c", FETCH, f"http://127.0.0.1:9090{path}").stdout

    def probe(self, name: str) -> int:
        """Probes as the kubelet does, by grpc-health-probe.

        `name` is startup, readiness or liveness. Returns the exit code: 0 if the answer is SERVING.
        """
        asked = self._container[f"{name}Probe"]
        seconds = f"{asked.get('timeoutSeconds', 1)}s"
        done = self.inside(
            go_program("grpc-health-probe"),
            f"-addr=127.0.0.1:{asked['grpc']['port']}",
            f"-service={asked['grpc']['service']}",
            f"-connect-timeout={seconds}",
            f"-rpc-timeout={seconds}",
        )
        return done.returncode

    def started(self) -> Self:
        """Waits until the startup probe succeeds."""
        until(lambda: self.process.poll() is not None or self.probe("startup") == 0, "the startup probe")
        assert self.process.poll() is None, self.log()
        return self

    def log(self) -> str:
        """Returns what the container has written to stdout and stderr."""
        return self._log.read_text("utf-8")

    def _entered(self) -> list[str]:
        return ["nsenter", "--target", str(self.process.pid), "--net", "--"]


@contextmanager
def pod(container: Mapping[str, Any], volumes: Mapping[str, Path], **of_image: str) -> Iterator[Pod]:
    """Starts a container.

    `volumes` are the folders of its mounts by name; a mount without one is an empty folder. `of_image` are
    variables that the image sets.
    """
    require_namespaces()
    variables = {variable["name"]: "a secret" for variable in container.get("env", [])}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with TemporaryDirectory() as folder:
        log = Path(folder, "log")
        script = "\n".join(_script(container["volumeMounts"], volumes))
        command = [*NAMESPACES, "sh", "-c", script, "sh", *container["command"], *container["args"]]
        env = environment(**of_image | variables | {"PATH": path})
        with (
            log.open("wb") as output,
            subprocess.Popen(command, env=env, stdout=output, stderr=output) as process,
        ):
            try:
                yield Pod(process, container, log)
            finally:
                process.kill()


def _script(mounts: list[dict[str, Any]], volumes: Mapping[str, Path]) -> Iterator[str]:
    """Yields the lines of a script that mounts everything and becomes the container."""
    yield "set -e"
    yield shlex.join([sys.executable, "-c", LOOPBACK])
    yield "mount -t tmpfs tmpfs /mnt"
    for parent in PARENTS:
        layers = f"/mnt/{parent.replace('/', '_')}"
        yield f"mkdir -p {layers}/upper {layers}/work"
        options = f"lowerdir={parent},upperdir={layers}/upper,workdir={layers}/work"
        yield f"mount -t overlay overlay -o {options} {parent}"
    writable = {mount["mountPath"] for mount in mounts}
    for mount in (mount for mount in mounts if mount["mountPath"] not in PARENTS):
        path = shlex.quote(mount["mountPath"])
        yield f"mkdir -p {path}"
        if mount["name"] in volumes:
            yield f"mount --bind {shlex.quote(str(volumes[mount['name']]))} {path}"
        else:
            yield f"mount -t tmpfs tmpfs {path}"
        if mount.get("readOnly"):
            yield f"mount -o remount,bind,ro {path}"
    for parent in ("/", *(parent for parent in PARENTS if parent not in writable)):
        yield f"mount -o remount,bind,ro {parent}"
    yield 'exec "$@"'
