"""Kills engine processes at random while generations run on them, and checks every generation's output.

    python -m tests.support.engine_kills --kills 1000    # make chaos

The output must equal the text that an engine generates without interruption: nothing is lost, nothing is
duplicated. The caller does not notice a loss before the first token. After it, another engine continues the
output exactly, or the generation ends with an explicit failure.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tokenstreaming.v1 import generation_pb2, input_pb2
from tokenstreaming.v1.usage_pb2 import USAGE_SOURCE_ENGINE

from tests.support import engine_process
from tests.support.harness import check_gapless, collect, serving
from tests.support.ports import reserved_port
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
    """The parent process of the engines. All engines end when the block exits."""

    def __init__(self, pace: float = PACE) -> None:
        """`pace` is the mean delay before each chunk, in seconds."""
        self._pace = pace
        self._process: subprocess.Popen[bytes] | None = None
        self._one_by_one = asyncio.Lock()

    async def __aenter__(self) -> Self:
        script = str(Path(engine_process.__file__))
        # Not by the event loop: uvloop's forks run gRPC's handlers of forks, which crash now and then.
        self._process = subprocess.Popen(  # noqa: ASYNC220 - it takes a millisecond
            [sys.executable, "-I", script, str(self._pace)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        await asyncio.to_thread(self._process.communicate)  # closes its input

    async def start(self, port: int) -> int:
        """Starts an engine on a port, and returns its process id once it listens."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        async with self._one_by_one:
            self._process.stdin.write(b"%d\n" % port)
            listening_port, pid = map(int, (await asyncio.to_thread(self._process.stdout.readline)).split())
        assert listening_port == port
        return pid


@dataclass
class Engine:
    """The process of an engine. After a kill, `pid` is 0 until the engine is restarted on the same port."""

    port: int
    pid: int = 0

    def kill(self) -> None:
        """Kills the process with SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)
        self.pid = 0


@dataclass
class Tally:
    """The generations by outcome, and those with a wrong outcome."""

    kills: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, prompt: str, outcome: Outcome, switches_allowed: int) -> None:
        """Counts a generation by its outcome, or records what is wrong with it."""
        try:
            self.kinds[_judge(prompt, outcome, switches_allowed)] += 1
        except AssertionError as error:
            self.wrong.append(f"{prompt}: {outcome.code.name} {outcome.message} {error}"[:2000])


def _judge(prompt: str, outcome: Outcome, switches_allowed: int) -> str:
    check_gapless(outcome.messages)
    switched = [m.engine_switched for m in outcome.messages if m.WhichOneof("event") == "engine_switched"]
    assert len(switched) <= switches_allowed
    assert all(switch.continuation_method == BY_IDS for switch in switched)
    count = sum(token.count for token in outcome.tokens)
    expected = engine_process.answer(prompt, count)
    assert outcome.text == expected, f"differs from the engine's text: {_difference(outcome, expected)}"
    if outcome.code.name == "OK":
        assert count == TOKENS
        assert outcome.finished is not None
        assert outcome.finished.finish_reason == generation_pb2.FINISH_REASON_MAX_TOKENS, "not MAX_TOKENS"
        _check_usage(prompt, outcome)
        return "continued exactly by another engine" if switched else "completed by one engine"
    assert outcome.tokens, "the caller noticed a loss before the first token"
    assert outcome.info is not None
    assert outcome.info.reason in _AFTER_A_TOKEN
    assert outcome.failure is not None
    assert outcome.failure.ended
    allowed = "switches were allowed" if switches_allowed else "no switch was allowed"
    return f"failed explicitly: {allowed}"


def _difference(outcome: Outcome, expected: str) -> str:
    """Describes where a text begins to differ from the expected one, and where engines were switched."""
    pairs = enumerate(zip(outcome.text, expected, strict=False))
    at = next((i for i, (got, wanted) in pairs if got != wanted), min(len(outcome.text), len(expected)))
    text = ""
    switches = []
    for message in outcome.messages:
        text += "".join(token.text for token in message.tokens)
        if message.WhichOneof("event") == "engine_switched":
            switch = message.engine_switched
            switches.append(f"{switch.reason} at {len(text)} by {switch.continuation_method}")
    near = slice(max(0, at - 20), at + 30)
    return f"{outcome.text[near]!r} for {expected[near]!r} at {at}; {switches}"


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
    """Starts engine processes and a server in front of them."""
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(Nursery())
        ports = [reserved_port() for _ in range(count)]
        processes = [Engine(port, await nursery.start(port)) for port in ports]
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
        # Engines are killed faster than they restart, so some requests lose several engines.
        limits = {"max_engine_attempts": 10}
        model = model_settings(name="m", engines=engines)
        server = await stack.enter_async_context(serving(model, limits=limits))
        yield nursery, processes, server


async def one(server: Served, prompt: str, switches: int) -> Outcome:
    """Runs a generation, with the input as a prompt or as a conversation."""
    fields: dict[str, Any] = {"prompt": prompt}
    if len(prompt) % 2:
        message = input_pb2.ConversationMessage(role=input_pb2.ROLE_USER, text=prompt)
        fields = {"conversation": input_pb2.Conversation(messages=[message])}
    recovery = input_pb2.Recovery(max_engine_switch_count=switches)
    return await collect(server.stream(max_output_token_count=TOKENS, recovery=recovery, **fields))


async def run(kills: int, *, engines: int = 3, callers: int = 8, seed: int = 1) -> Tally:
    """Kills engines at random while callers send requests without a pause. One engine stays alive."""
    tally, randomness, over = Tally(), random.Random(seed), asyncio.Event()

    async def call(number: int) -> None:
        count = 0
        while not over.is_set():
            count += 1
            # One caller in four allows no switch.
            switches = 0 if number % 4 == 0 else SWITCHES
            prompt = f"caller {number} asks {count}"
            tally.add(prompt, await one(server, prompt, switches), switches)

    async def kill() -> None:
        while tally.kills < kills and not tally.wrong:
            await asyncio.sleep(randomness.uniform(0.01, 0.1))
            alive = [process for process in processes if process.pid]
            if len(alive) > 1:
                randomness.choice(alive).kill()
                tally.kills += 1

    async def restart() -> None:
        while not over.is_set():
            for process in processes:
                if not process.pid:
                    process.pid = await nursery.start(process.port)
            await asyncio.sleep(0.01)

    async with several(engines) as (nursery, processes, server), asyncio.TaskGroup() as group:
        for number in range(callers):
            group.create_task(call(number))
        group.create_task(restart())
        await kill()
        over.set()
    return tally


def main() -> int:
    """Runs the test and prints the generations by outcome. Returns 1 if an outcome is wrong."""
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
