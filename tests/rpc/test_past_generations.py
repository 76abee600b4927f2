"""Generations that only the ledger knows, ledgers that cannot be read, and those that are away."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from tokenstreaming.v1 import generation_pb2, input_pb2

from tests.support.commands import tokengrpc
from tests.support.harness import collect, failing, serving, until
from tests.support.records import finished_record
from tests.support.usage_service import Service, as_tenant
from tokengrpc.core.model import FinishReason
from tokengrpc.errors import StoreUnavailable
from tokengrpc.stores.memory_ledger import MemoryLedger


async def test_a_generation_that_the_log_has_forgotten(service: Service) -> None:
    """GetGeneration answers from the ledger, to its own tenant only. Its events cannot be read any more."""
    recovery = input_pb2.Recovery(replay_ttl=Duration(nanos=1_000_000))
    await collect(service.served.stream("g", recovery=recovery, max_output_token_count=3, **as_tenant("a")))
    await until(lambda: service.served.server.buffers.used_bytes == 0, "the log is forgotten")
    found = await service.served.get("g", **as_tenant("a"))
    assert found.state == generation_pb2.GENERATION_STATE_SUCCEEDED
    assert found.finished.finish_reason == generation_pb2.FINISH_REASON_MAX_TOKENS
    assert found.usage.output_token_count == 3
    assert [attempt.engine for attempt in found.attempts] == ["builtin"]
    assert found.create_time.ToNanoseconds() < found.first_token_time.ToNanoseconds()
    assert (found.first_kept_sequence, found.last_sequence) == (0, 0)
    for other in ("b", "root"):
        outcome = await failing(service.served.get("g", **as_tenant(other)))
        assert outcome.info.reason == "GENERATION_NOT_FOUND"
    outcome = await collect(service.served.resume("g", **as_tenant("a")))
    assert outcome.info.reason == "GENERATION_NOT_FOUND"


@pytest.mark.parametrize(
    ("more", "state", "code"),
    [
        ({}, "SUCCEEDED", None),
        ({"finish_reason": FinishReason.CANCELLED, "error_reason": "CANCELLED"}, "CANCELLED", 1),
        ({"finish_reason": FinishReason.ERROR, "error_reason": "ENGINE_LOST"}, "FAILED", 14),
        ({"finish_reason": FinishReason.ERROR, "error_reason": "OF_A_NEWER_SERVER"}, "FAILED", 2),
        ({"finish_reason": None, "lost": True}, "FAILED", None),
        ({"finish_reason": None, "end_time_ns": None}, "GENERATING", None),
    ],
)
async def test_how_a_forgotten_generation_ended(more: dict, state: str, code: int | None) -> None:
    """The state follows from the record, and the status from the reason that it has kept."""
    async with serving(ledger=MemoryLedger()) as served:
        await served.ledger.finish(finished_record(tenant="default", **more))
        found = await served.get("g")
    assert generation_pb2.GenerationState.Name(found.state) == f"GENERATION_STATE_{state}"
    assert found.HasField("finished") == (more.get("finish_reason", FinishReason.END) is not None)
    assert (found.finished.status.code if found.finished.HasField("status") else None) == code


class WriteOnly(MemoryLedger):
    """A ledger of a plugin that cannot be read."""

    find = list_records = summarize = entries = None  # type: ignore[assignment]


class Away(MemoryLedger):
    """A ledger whose reads fail, or hang."""

    def __init__(self, *, hangs: bool) -> None:
        super().__init__()
        self._hangs = hangs

    async def find(self, tenant: str, generation_id: str) -> Any:
        if self._hangs:
            await asyncio.Event().wait()
        raise StoreUnavailable("the usage ledger failed: no answer of db.internal:5432")

    async def list_records(self, *_: Any) -> Any:
        return await self.find("", "")


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_ledger_that_is_away(hangs: bool) -> None:
    """STORE_UNAVAILABLE, also to GetGeneration, which does not know whether there was such a generation."""
    async with serving(ledger=Away(hangs=hangs), limits={"store_timeout": 0.1}) as served:
        calls = [Service(served).records() for _ in range(5)] + [served.get("g")]
        for outcome in await asyncio.gather(*map(failing, calls)):
            assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
            assert "db.internal" not in outcome.message  # which the log has
        assert (await collect(served.stream("g", max_output_token_count=1))).finished


async def test_a_ledger_that_cannot_be_read() -> None:
    """UNIMPLEMENTED, which the command line explains; GetGeneration forgets with the log."""
    async with serving(ledger=WriteOnly()) as served:
        assert (await failing(Service(served).records())).code is grpc.StatusCode.UNIMPLEMENTED
        assert (await failing(served.get("g"))).info.reason == "GENERATION_NOT_FOUND"
        done = await asyncio.to_thread(tokengrpc, "usage", "--target", served.target)
        assert done.returncode == 1
        assert done.stderr.startswith("error: UNIMPLEMENTED: this server does not serve usage: ")
