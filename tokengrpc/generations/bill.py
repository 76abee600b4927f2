"""The bill of one generation: its usage record in the ledger, and what its budget has reserved for it."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import structlog

from tokengrpc.core.input_tokens import estimate_input
from tokengrpc.core.model import Usage
from tokengrpc.core.ports.budget import BudgetRequest
from tokengrpc.generations.usage_records import usage_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.core.generation import Generation
    from tokengrpc.core.ports.budget import Grant
    from tokengrpc.core.ports.ledger import UsageRecord
    from tokengrpc.generations.buffer import EventBuffer
    from tokengrpc.generations.services import Services
    from tokengrpc.generations.spec import GenerationSpec

log = structlog.get_logger(__name__)


class Bill:
    """Usage record and budget of a generation. Either `close` or `leave` ends it; the first call counts.

    The record begins when an engine accepts the request, here or on the server that this one continues.
    """

    def __init__(
        self,
        spec: GenerationSpec,
        generation: Generation,
        buffer: EventBuffer,
        services: Services,
        delivered: Callable[[], int],
    ) -> None:
        """`delivered` returns the last sequence that was handed to the transport for any reader."""
        self._spec = spec
        self._generation = generation
        self._buffer = buffer
        self._services = services
        self._delivered = delivered
        self._begun = spec.taken is not None and spec.taken.logged.snapshot.started
        self._ended = False
        self._grant: Grant | None = None
        self._adoption: asyncio.Task[None] | None = None

    def record(self) -> UsageRecord:
        """Returns the usage record as of now."""
        return usage_record(self._spec, self._generation, self._services, self._buffer, self._delivered())

    async def closed_record(self) -> UsageRecord | None:
        """Returns the record if an earlier server has closed it already."""
        return await self._services.billing.closed(self.record()) if self._begun else None

    async def reserve(self) -> Grant:
        """Reserves the budget. A record that another server began becomes this server's meanwhile.

        Raises QuotaExceeded, BudgetExhausted, StoreUnavailable.
        """
        spec, services = self._spec, self._services
        if self._begun:
            # The record is open already, so that the engine need not wait until it is this server's.
            self._adoption = asyncio.get_running_loop().create_task(services.billing.adopt(self.record()))
        wanted = BudgetRequest(
            identity=spec.identity,
            key=spec.key,
            model=spec.model.name,
            labels=spec.request.labels,
            create_time_ns=self._generation.timestamps.created,
            input_token_count=estimate_input(spec.request),
            max_output_token_count=spec.request.max_output_token_count,
            price=partial(self._generation.price, expected_engine=spec.engines[0].engine.name),
        )
        self._grant = grant = await services.budget_patience.once(lambda: services.budget.reserve(wanted))
        return grant

    async def begin(self) -> bool:
        """Begins the record. Returns False if it was begun before. Raises StoreUnavailable."""
        if self._begun:
            return False
        self._begun = True
        await self._services.billing.begin(self.record())
        return True

    async def adopted(self) -> None:
        """Returns when a record that another server began is this server's."""
        if self._adoption is not None:
            await asyncio.shield(self._adoption)

    async def close(self) -> None:
        """Finishes the record, if it was begun, then returns what was reserved and not used."""
        if self._ended:
            return
        self._ended = True
        try:
            if self._begun:
                await self._finish()
        finally:
            # After the record, so that what was used is never free for others.
            await self._settle(self._generation.usage if self._begun else Usage())

    async def leave(self) -> None:
        """Returns what was reserved here. Another server goes on, and closes the record."""
        self._ended = True
        await self._settle(Usage())

    async def _finish(self) -> None:
        """Finishes the record. The usage is that of the first server that did."""
        generation, billing, record = self._generation, self._services.billing, self.record()
        # The record is stored before any caller can see the end.
        await billing.finish(record)
        if self._spec.taken is not None and (first := await billing.closed(record)) is not None:
            generation.recorded(first.usage)
            generation.cost = first.cost
        if record.input_is_cut:
            log.warning(
                "the engine reported far less input than was counted: it may have cut the input",
                model=record.model,
                engine=generation.engine,
                reported=generation.usage.input,
            )

    async def _settle(self, usage: Usage) -> None:
        grant, self._grant = self._grant, None
        if grant is not None:
            await self._services.budget_patience.quietly(lambda: grant.settle(usage))
