"""A ledger that hangs forever: SIGTERM still ends the process, and no record is lost."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import serving, until
from tests.support.plugins import install

if TYPE_CHECKING:
    from pathlib import Path

DRAIN_TIME = 20

# Database drivers hang like this: in an await, or in a blocking call on a thread that cannot be interrupted.
LEDGER = """
import asyncio, sys, threading
from tokengrpc.stores.memory_ledger import MemoryLedger

class Hanging(MemoryLedger):
    durable = True
    async def hang(self, *arguments):
        if self.how == "await":
            await asyncio.Event().wait()
        if self.how == "thread":
            await asyncio.to_thread(threading.Event().wait)
    begin = checkpoint = finish = settle = close = hang

class Writing(MemoryLedger):
    async def finish(self, record):
        await super().finish(record)
        print("finished", record.generation_id, record.usage.output, file=sys.stderr)

def create(value, options, settings):
    how = value.partition(":")[2]
    ledger = Hanging() if how else Writing()
    ledger.how = how
    return ledger
"""


@pytest.mark.parametrize("how", ["await", "thread"])
def test_sigterm_ends_a_server_whose_ledger_hangs(how: str, tmp_path: Path) -> None:
    """Within the drain time, with exit code 0.

    The spill file has the record, and after a restart the ledger.
    """
    plugins = install(tmp_path, {"ledger.py": LEDGER}, {"tokengrpc.ledgers": {"test": "ledger:create"}})
    data = tmp_path / "data"
    variables = {
        "PYTHONPATH": str(plugins),
        "TOKENGRPC_DATA_DIR": str(data),
        "TOKENGRPC_LIMITS_DRAIN_TIME": str(DRAIN_TIME),
        "TOKENGRPC_LIMITS_STORE_TIMEOUT": "0.3",
    }
    with serving("--pace", "50", "--ledger", f"test:{how}", **variables) as server:
        with server.running(
            "stream", "What is token streaming?", "--id", "mine", "--temperature", "0", "--max-tokens", "60"
        ) as stream:
            assert stream.stdout is not None
            stream.stdout.read(10)
            server.process.send_signal(signal.SIGTERM)
            answer, _ = stream.communicate(timeout=DRAIN_TIME)
            assert answer
            assert stream.returncode == 0
        assert server.process.wait(DRAIN_TIME) == 0
    lines = (data / "unwritten-usage.jsonl").read_text().split("\n")
    spilled = [call for line in lines if line if (call := json.loads(line))["finish"]]
    assert [(call["finish"]["generation_id"], call["finish"]["usage"]["output"]) for call in spilled] == [
        ("mine", 60)
    ]
    with serving("--ledger", "test", **variables) as server:
        until(lambda: "finished mine 60" in server.log(), "the record is in the ledger")
        until(lambda: not (data / "unwritten-usage.jsonl").stat().st_size, "the spill is empty")
        assert server.stop() == 0
