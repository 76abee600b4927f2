"""The real server, which prints the numbers of its tasks, permits, readers and sockets on SIGUSR1."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from pathlib import Path

from tokengrpc import process, server
from tokengrpc.config import LimitSettings, Settings, model_settings


class Watched(server.Server):
    """A server that reports on a signal what it holds."""

    engine_port = 0

    async def start(self) -> None:
        """Starts, then listens for the signal."""
        await super().start()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._tell)

    def _tell(self) -> None:
        held = {
            "tasks": len(asyncio.all_tasks()),
            "permits": self.admission.active,
            "readers": sum(len(task.subscribers) for task in self.registry),
            "sockets to the engine": _sockets_to(self.engine_port),
        }
        print(f"held {json.dumps(held)}", flush=True)


def _sockets_to(port: int) -> int:
    """Returns the number of this process's sockets to a port of this machine, in any state."""
    lines = Path("/proc/self/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    inodes = {field[9] for field in fields if int(field[2].rpartition(":")[2], 16) == port}
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found += str(entry.readlink()).removeprefix("socket:[").removesuffix("]") in inodes
        except FileNotFoundError:  # the directory's own entry
            continue
    return found


def main() -> None:
    """Serves one model on the engine at --base-url."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--permits", type=int, required=True)
    arguments = parser.parse_args()
    Watched.engine_port = int(arguments.base_url.rpartition(":")[2].partition("/")[0])
    process.Server = Watched  # type: ignore[misc] - `run` makes this one
    model = model_settings(name="scripted", kind="openai", base_url=arguments.base_url, api="chat")
    limits = LimitSettings(max_generations=arguments.permits)
    process.run(Settings(listen="127.0.0.1:0", models=(model,), limits=limits, log_level="warning"))


if __name__ == "__main__":
    main()
