"""Plans drawn by chance, many at once: what is planned happens, and nothing else."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import grpc
import pytest
from tokenstreaming.v1 import input_pb2

from tests.engines.simulator.outcomes import OUTCOMES, STATUS_REASONS
from tests.support.harness import check_gapless, collect, serving, until
from tokengrpc.config import model_settings
from tokengrpc.config.faults import ENDS
from tokengrpc.engines.simulator.script import Script

TOKENS = 30
PLANS = 120
MANNERS: dict[str, Any] = {
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


def plan_of(chance: random.Random) -> dict[str, Any]:
    """Any manners, and at most one end."""
    plan = {key: MANNERS[key] for key in chance.sample(sorted(MANNERS), chance.randrange(5))}
    if chance.random() < 0.3:
        plan |= {"stall_at_token": chance.randrange(TOKENS), "stall_time": 0.01}
    end = chance.choice((*ENDS, None))
    if end == "status":
        plan[end] = chance.choice(sorted(STATUS_REASONS))
    elif end is not None:
        most = 20_000 if end == "cut_at_byte" else TOKENS + 10
        plan[end] = True if end == "refuse" else chance.randrange(most)
    return plan


def expected(plan: dict[str, Any]) -> set[str]:
    """The reasons that may be told; empty for a good end."""
    if "status" in plan:
        return {STATUS_REASONS[plan["status"]]}
    end = next((key for key in ENDS if key in plan), None)
    if end is None or (end.endswith("_token") and plan[end] > TOKENS):
        return {""}
    # Whether so many bytes are reached depends on what else is written.
    return {OUTCOMES[end].reasons[0], *([""] if end == "cut_at_byte" else [])}


@pytest.mark.parametrize("seed", range(3))
async def test_any_plan(seed: int) -> None:
    """No false end, no text that is not the true one's beginning, no hang, whatever stands together."""
    chance = random.Random(seed)
    plans = [plan_of(chance) for _ in range(PLANS)]
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


def is_scripts(task: asyncio.Task[Any]) -> bool:
    """Whether it plays a plan."""
    return task.get_coro().__qualname__ == Script.serve.__qualname__


async def test_cancels_leave_nothing() -> None:
    """Callers who leave at any moment of any plan: no task, no stream and no place is left over."""
    chance = random.Random(7)
    played: set[asyncio.Task[Any]] = set()
    async with asyncio.timeout(60), serving(model_settings(name="m", allow_request_faults=True)) as server:

        async def leave(plan: dict[str, Any]) -> None:
            call = server.stream(prompt="Tell me", engine_params={"faults": plan})
            for _ in range(chance.randrange(12)):
                try:
                    if await call.read() is grpc.aio.EOF:
                        return
                except grpc.aio.AioRpcError:
                    return
                played.update(filter(is_scripts, asyncio.all_tasks()))
            call.cancel()

        await asyncio.gather(*(leave(plan_of(chance) | {"pace": 300}) for _ in range(PLANS)))
        assert len(played) > PLANS / 4
        await until(lambda: server.registry.active == 0, "no place is left over")
        await until(lambda: not [task for task in asyncio.all_tasks() if is_scripts(task)], "nor a task")
