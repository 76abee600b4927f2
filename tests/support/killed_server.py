"""A server in a process of its own that is killed, stopped and started again, always on the same port."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from typing import TYPE_CHECKING

from tests.support.commands import PROGRAM, environment
from tests.support.ports import reserved_port

if TYPE_CHECKING:
    from pathlib import Path

_START_LIMIT = 60.0


class KilledServer:
    """The server's process, killed and started again on the same port. `up` is set while it serves."""

    def __init__(self, directory: Path, settings: str) -> None:
        """Takes its `data_dir`, which is made, and settings in TOML without `listen`."""
        self.port = reserved_port()
        self.up = asyncio.Event()
        self._config, self._log = directory / "settings.toml", directory / "log"
        directory.mkdir(exist_ok=True)
        own = f'listen = "127.0.0.1:{self.port}"\ndata_dir = "{directory}"\n'
        self._config.write_text(own + settings)
        self._process: subprocess.Popen[bytes] | None = None

    async def spawn(self) -> None:
        """Starts the process, without waiting until it serves.

        Not by the event loop: uvloop's forks run gRPC's handlers of forks, which crash now and then.
        """
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - it takes a millisecond
                [*PROGRAM, "serve", "--config", str(self._config)],
                env=environment(PYTHONFAULTHANDLER="1"),
                stdout=subprocess.PIPE,
                stderr=log,
            )

    async def serve(self) -> None:
        """Returns once the process serves."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        reading = asyncio.create_task(asyncio.to_thread(process.stdout.readline))
        if not (await asyncio.wait([reading], timeout=_START_LIMIT))[0]:
            process.send_signal(signal.SIGABRT)  # it logs where its threads are, and ends
        line = await reading
        if not line.startswith(b"listening on "):
            process.stdout.close()
            code = await asyncio.to_thread(process.wait)
            raise RuntimeError(f"the server ends with {code}: {line!r} {self._log.read_text()[-4000:]}")
        self.up.set()

    async def end(self, how: signal.Signals) -> int:
        """Ends the process with a signal. Returns its exit code."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        self.up.clear()
        process.send_signal(how)
        code = await asyncio.to_thread(process.wait)
        process.stdout.close()
        return code

    @property
    def alive(self) -> bool:
        """Whether the process runs, or is stopped."""
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """Returns what all its processes have logged."""
        return self._log.read_text()

    def signal(self, what: signal.Signals) -> None:
        """Sends a signal, such as SIGSTOP."""
        assert self._process is not None
        self._process.send_signal(what)
