"""The real server, which prints on SIGUSR1 what it holds, and returns free memory on SIGUSR2."""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import json
import signal
from contextlib import suppress
from pathlib import Path

from bench.script import MODEL
from tokengrpc import process, server
from tokengrpc.config import LimitSettings, Settings, load, model_settings

_NOTHING = 1e-9
"""Share of a core that no generation fits into."""


class Watched(server.Server):
    """A server that reports on a signal what it holds."""

    engine_port = 0

    async def start(self) -> None:
        """Starts, then listens for the signal."""
        await super().start()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, self._tell)
        loop.add_signal_handler(signal.SIGUSR2, _return_free_memory)

    def _tell(self) -> None:
        held = {
            "tasks": len(asyncio.all_tasks()),
            "permits": self.admission.active,
            "readers": sum(len(task.subscribers) for task in self.registry),
            "kept generations": len(list(self.registry)),
            "sockets to the engine": _sockets_to(self.engine_port),
            "descriptors": len(list(Path("/proc/self/fd").iterdir())),
            "threads": len(list(Path("/proc/self/task").iterdir())),
        }
        print(f"held {json.dumps(held)}", flush=True)


def _return_free_memory() -> None:
    """Makes the C library give pages that hold no data back to the kernel: those that remain are in use."""
    gc.collect()
    with suppress(OSError, AttributeError):  # glibc has it
        ctypes.CDLL(None).malloc_trim(0)
    print("free memory returned", flush=True)


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
    """Serves one model on the engine at --base-url, or what a settings file says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", default="")
    parser.add_argument("--permits", type=int, default=4096)
    parser.add_argument("--adaptive", action="store_true", help="admit only what the process can serve")
    parser.add_argument("--refuse", action="store_true", help="refuse all generations at the gate")
    parser.add_argument("--admin-listen", default="", help="address of the admin pages")
    parser.add_argument("--admin-grpc-listen", default="", help="address of health on the admin port")
    parser.add_argument("--config", help="a settings file, instead of the other options")
    arguments = parser.parse_args()
    process.Server = Watched  # type: ignore[misc] - `run` makes this one
    if arguments.config:
        process.run(load(Path(arguments.config), {}, {"listen": "127.0.0.1:0"}))
        return
    Watched.engine_port = int(arguments.base_url.rpartition(":")[2].partition("/")[0])
    model = model_settings(name=MODEL, kind="openai", base_url=arguments.base_url, api="chat")
    # Unless admission is measured, all permits are taken at once, whatever their cost may be.
    lowest = {} if arguments.adaptive else {"min_generations": arguments.permits}
    if arguments.refuse:
        lowest = {"min_generations": 0, "max_core_share": _NOTHING}
    limits = LimitSettings(max_generations=arguments.permits, **lowest)
    admin = {"admin_listen": arguments.admin_listen, "admin_grpc_listen": arguments.admin_grpc_listen}
    process.run(Settings(listen="127.0.0.1:0", models=(model,), limits=limits, log_level="warning", **admin))


if __name__ == "__main__":
    main()
