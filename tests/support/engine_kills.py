"""Engines as processes, killed at random while generations run on them: nothing is lost, nothing is doubled.

    python -m tests.support.engine_kills --kills 1000    # make chaos

Every generation is checked against what its engine would have said: before its first token a loss is
invisible; after it the answer goes on exactly, or ends with an explicit failure.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import socket
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tokenstreaming.v1 import generation_pb2, input_pb2
from tokenstreaming.v1.usage_pb2 import USAGE_SOURCE_ENGINE

from tests.support import engine_process
from tests.support.harness import check_gapless, collect, serving
from tokengrpc.config import engine_settings, model_settings
from tokengrpc.telemetry.logs import configure_logs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.harness import Outcome, Served

PACE = 0.002
TOKENS = 60
SWITCHES = 8
BY_IDS = generation_pb2.CONTINUATION_METHOD_TOKEN_IDS
_AFTER_A_TOKEN = {"ENGINE_LOST", "ENGINE_TRUNCATED", "ENGINE_UNAVAILABLE"}


class Nursery:
    """Starts engines' processes; leaving it ends them."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._one_by_one = asyncio.Lock()

    async def __aenter__(self) -> Self:
        script = str(Path(engine_process.__file__))
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", script, str(PACE)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        await self._process.communicate(b"")  # closes its input

    async def start(self, port: int) -> int:
        """An engine at a port; answers its process id once it listens."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        async with self._one_by_one:
            self._process.stdin.write(b"%d\n" % port)
            there, pid = map(int, (await self._process.stdout.readline()).split())
        assert there == port
        return pid


@dataclass
class Engine:
    """An engine's process; it comes back at the same port after it was killed. `pid` 0 while it is dead."""

    port: int
    pid: int = 0

    def kill(self) -> None:
        """At once, whatever it does."""
        os.kill(self.pid, signal.SIGKILL)
        self.pid = 0


@dataclass
class Tally:
    """What became of the generations."""

    kills: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, prompt: str, outcome: Outcome, switches_allowed: int) -> None:
        """Sorts a generation by how it went, or notes what is wrong with it."""
        try:
            self.kinds[_judge(prompt, outcome, switches_allowed)] += 1
        except AssertionError as error:
            self.wrong.append(f"{prompt}: {outcome.code.name} {outcome.message} {error}"[:2000])


def _judge(prompt: str, outcome: Outcome, switches_allowed: int) -> str:
    check_gapless(outcome.messages)
    switched = [m.engine_switched for m in outcome.messages if m.WhichOneof("event") == "engine_switched"]
    assert len(switched) <= switches_allowed
    assert all(switch.method == BY_IDS for switch in switched)
    count = sum(token.count for token in outcome.tokens)
    expected = engine_process.answer(prompt, count)
    assert outcome.text == expected, f"not what the engine says: {_difference(outcome, expected)}"
    if outcome.code.name == "OK":
        assert count == TOKENS
        assert outcome.finished.finish_reason == 3, "not MAX_TOKENS"
        _check_usage(prompt, outcome)
        return "went on exactly" if switched else "in one piece"
    assert outcome.tokens, "a loss before the first token was seen"
    assert outcome.info.reason in _AFTER_A_TOKEN
    assert outcome.failure.ended
    allowed = "although switches were allowed" if switches_allowed else "no switch was allowed"
    return f"failed and said so: {allowed}"


def _difference(outcome: Outcome, expected: str) -> str:
    """Where a text leaves what was expected, and where engines were switched."""
    pairs = enumerate(zip(outcome.text, expected, strict=False))
    at = next((i for i, (got, wanted) in pairs if got != wanted), min(len(outcome.text), len(expected)))
    text = ""
    story = []
    for message in outcome.messages:
        text += "".join(token.text for token in message.tokens)
        if message.WhichOneof("event") == "engine_switched":
            switch = message.engine_switched
            story.append(f"{switch.reason} at {len(text)} by {switch.method}")
    near = slice(max(0, at - 20), at + 30)
    return f"{outcome.text[near]!r} for {expected[near]!r} at {at}; {story}"


def _check_usage(prompt: str, outcome: Outcome) -> None:
    usage = outcome.messages[-1].usage
    given = len(engine_process.prompt_ids(prompt))
    assert (usage.input_token_count, usage.output_token_count) == (given, TOKENS)
    assert usage.source == USAGE_SOURCE_ENGINE
    prefills = 0
    for at, message in enumerate(outcome.messages):
        if message.WhichOneof("event") == "engine_switched":
            prefills += given + next(t.index for later in outcome.messages[at:] for t in later.tokens)
    assert usage.overhead_token_count == prefills


@asynccontextmanager
async def several(count: int) -> AsyncIterator[tuple[Nursery, list[Engine], Served]]:
    """So many engine processes and a server before them."""
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(Nursery())
        processes = [Engine(port, await nursery.start(port)) for port in _free_ports(count)]
        engines = tuple(
            engine_settings(
                name=f"engine-{number}",
                kind="openai",
                dialect="vllm",
                base_url=f"http://127.0.0.1:{process.port}/v1",
                health_check_interval=0.2,
            )
            for number, process in enumerate(processes)
        )
        # Engines die faster than they come back: some requests meet several deaths.
        limits = {"max_engine_attempts": 10}
        model = model_settings(name="m", engines=engines)
        server = await stack.enter_async_context(serving(model, limits=limits))
        yield nursery, processes, server


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


async def one(server: Served, prompt: str, switches: int) -> Outcome:
    """A generation, asked for as a prompt or as a conversation."""
    asked: dict[str, Any] = {"prompt": prompt}
    if len(prompt) % 2:
        message = input_pb2.ConversationMessage(role=input_pb2.ROLE_USER, text=prompt)
        asked = {"conversation": input_pb2.Conversation(messages=[message])}
    recovery = input_pb2.Recovery(max_engine_switch_count=switches)
    return await collect(server.stream(max_output_token_count=TOKENS, recovery=recovery, **asked))


async def run(kills: int, *, engines: int = 3, callers: int = 8, seed: int = 1) -> Tally:
    """Kills engines until so many have died, while callers ask without a pause; another one always lives."""
    tally, chance, over = Tally(), random.Random(seed), asyncio.Event()

    async def call(number: int) -> None:
        asked = 0
        while not over.is_set():
            asked += 1
            # One caller in four allows no switch.
            switches = 0 if number % 4 == 0 else SWITCHES
            prompt = f"caller {number} asks {asked}"
            tally.add(prompt, await one(server, prompt, switches), switches)

    async def kill() -> None:
        while tally.kills < kills and not tally.wrong:
            await asyncio.sleep(chance.uniform(0.01, 0.1))
            alive = [process for process in processes if process.pid]
            if len(alive) > 1:
                chance.choice(alive).kill()
                tally.kills += 1

    async def bring_back() -> None:
        while not over.is_set():
            for process in processes:
                if not process.pid:
                    process.pid = await nursery.start(process.port)
            await asyncio.sleep(0.01)

    async with several(engines) as (nursery, processes, server), asyncio.TaskGroup() as group:
        for number in range(callers):
            group.create_task(call(number))
        group.create_task(bring_back())
        await kill()
        over.set()
    return tally


def main() -> int:
    """Runs it, prints what became of the generations, and exits with 1 if one of them was not right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    configure_logs("error", "console", sys.stderr)
    began = time.monotonic()
    tally = asyncio.run(run(arguments.kills, seed=arguments.seed))
    print(f"{tally.kills} kills in {time.monotonic() - began:.0f} s, loadavg {os.getloadavg()[0]:.1f}")
    for kind, count in sorted(tally.kinds.items()):
        print(f"{count:7d} generations {kind}")
    for what in tally.wrong:
        print(f"WRONG: {what}")
    return 1 if tally.wrong or tally.kills < arguments.kills else 0


if __name__ == "__main__":
    sys.exit(main())
