"""Random plans, many at once: exactly the planned faults happen."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import grpc
import pytest
from tokenstreaming.v1 import input_pb2

from tests.support.harness import check_gapless, collect, serving, until
from tests.support.simulator_outcomes import OUTCOMES, STATUS_REASONS
from tokengrpc.config import model_settings
from tokengrpc.config.faults import ENDS
from tokengrpc.engines.simulator.script import Script

TOKENS = 30
PLANS = 120
HARMLESS: dict[str, Any] = {
    "accept_delay": 0.01,
    "first_token_delay": 0.01,
    "pace": 2000,
    "jitter": 0.002,
    "trickle": True,
    "split_characters": True,
    "unknown_fields": True,
    "usage": "twice",
    "keep_alive": 0.001,
}


def plan_of(rng: random.Random) -> dict[str, Any]:
    """Returns a random plan: some harmless faults, and at most one that ends the output."""
    plan = {key: HARMLESS[key] for key in rng.sample(sorted(HARMLESS), rng.randrange(5))}
    if rng.random() < 0.3:
        plan |= {"stall_at_token": rng.randrange(TOKENS), "stall_time": 0.01}
    end = rng.choice((*ENDS, None))
    if end == "status":
        plan[end] = rng.choice(sorted(STATUS_REASONS))
    elif end is not None:
        most = 20_000 if end == "cut_at_byte" else TOKENS + 10
        plan[end] = True if end == "refuse" else rng.randrange(most)
    return plan


def expected(plan: dict[str, Any]) -> set[str]:
    """Returns the possible reasons of failure; an empty one is a regular end."""
    if "status" in plan:
        return {STATUS_REASONS[plan["status"]]}
    end = next((key for key in ENDS if key in plan), None)
    if end is None or (end.endswith("_token") and plan[end] > TOKENS):
        return {""}
    # Whether the body reaches this many bytes depends on the other faults.
    return {OUTCOMES[end].reasons[0], *([""] if end == "cut_at_byte" else [])}


@pytest.mark.parametrize("seed", range(3))
async def test_any_plan(seed: int) -> None:
    """With any combination, the end is the planned one, the text is a correct prefix, and nothing hangs."""
    rng = random.Random(seed)
    plans = [plan_of(rng) for _ in range(PLANS)]
    sampling = input_pb2.Sampling(seed=5, logit_bias={199_999: -100})
    ask = {"prompt": "Tell me", "max_output_token_count": TOKENS, "sampling": sampling}
    async with asyncio.timeout(60), serving(model_settings(name="m", allow_request_faults=True)) as server:
        true = await collect(server.stream(**ask))
        calls = [server.stream(**ask, engine_params={"faults": plan}) for plan in plans]
        for plan, outcome in zip(plans, await asyncio.gather(*map(collect, calls)), strict=True):
            reason = outcome.info.reason if outcome.info else ""
            assert reason in expected(plan), (plan, outcome.code, outcome.message)
            assert (outcome.code is grpc.StatusCode.OK) == (reason == "")
            check_gapless(outcome.messages)
            count = sum(token.count for token in outcome.tokens)
            assert outcome.text == true.text if not reason else true.text.startswith(outcome.text), plan
            end = next((key for key in ENDS if key in plan), "")
            if end.endswith("_token"):
                assert count == min(plan[end], TOKENS), plan
        await until(lambda: server.registry.active == 0)


def runs_a_script(task: asyncio.Task[Any]) -> bool:
    """Returns whether the task runs a script."""
    return task.get_coro().__qualname__ == Script.serve.__qualname__


async def test_cancels_leave_nothing() -> None:
    """When callers leave at any moment of any plan, no task, stream or permit is left over."""
    rng = random.Random(7)
    scripts: set[asyncio.Task[Any]] = set()
    async with asyncio.timeout(60), serving(model_settings(name="m", allow_request_faults=True)) as server:

        async def leave(plan: dict[str, Any]) -> None:
            call = server.stream(prompt="Tell me", engine_params={"faults": plan})
            for _ in range(rng.randrange(12)):
                try:
                    if await call.read() is grpc.aio.EOF:
                        return
                except grpc.aio.AioRpcError:
                    return
            call.cancel()

        async def watch() -> None:
            while True:
                scripts.update(filter(runs_a_script, asyncio.all_tasks()))
                await asyncio.sleep(0)

        watching = asyncio.create_task(watch())
        await asyncio.gather(*(leave(plan_of(rng) | {"pace": 300}) for _ in range(PLANS)))
        watching.cancel()
        assert len(scripts) > PLANS / 4
        await until(lambda: server.registry.active == 0, "no permit is left over")
        await until(
            lambda: not [task for task in asyncio.all_tasks() if runs_a_script(task)], "no task is left over"
        )
