"""The handlers of the TokenStream service: one short method per RPC."""

from __future__ import annotations

import asyncio
import base64
import binascii
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from tokenstreaming.v1 import token_stream_pb2 as pb

from tokengrpc.core.input_tokens import count_input, count_source
from tokengrpc.core.model import Cursor
from tokengrpc.errors import GenerationNotFound, InvalidRequest, StoreUnavailable
from tokengrpc.generations.claims import BegunElsewhere
from tokengrpc.rpc import delivery
from tokengrpc.rpc.engine_keys import with_engine_key
from tokengrpc.rpc.interceptor import CallFailed
from tokengrpc.rpc.requests import RequestReader
from tokengrpc.wire.checks import Checks
from tokengrpc.wire.generation import failure_of, generation_message, model_message
from tokengrpc.wire.parsing import parse
from tokengrpc.wire.past_generation import past_generation
from tokengrpc.wire.raw_fields import head_of
from tokengrpc.wire.request import GENERATION_ID, ID_RULE, flush_interval
from tokengrpc.wire.status import Failure
from tokengrpc.wire.tables import SOURCES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tokenstreaming.v1.generation_pb2 import Generation

    from tokengrpc.core.catalog import Catalog, ServedModel
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.core.tenant import Tenant
    from tokengrpc.generations.readable import ReadableGeneration
    from tokengrpc.generations.registry import GenerationRegistry
    from tokengrpc.generations.subscription import Subscription
    from tokengrpc.rpc.call import Handler, RpcCall
    from tokengrpc.rpc.usage_reads import UsageReads
    from tokengrpc.wire.raw_fields import Head

SERVICE = pb.DESCRIPTOR.services_by_name["TokenStream"]
STARTING = tuple(f"/{SERVICE.full_name}/{name}" for name in ("StreamTokens", "GenerateText"))
"""Paths of the methods that start generations."""
_PAGE_SIZE = 50
_MAX_PAGE_SIZE = 1000
_MAX_CONCURRENT_COUNTS = 2
_STARTS = 3
"""How often one call tries to start or to attach, if other servers start the same generation."""

T = TypeVar("T")


class TokenStreamServicer:
    """Handlers of the RPCs, which take and return encoded messages."""

    def __init__(
        self,
        registry: GenerationRegistry,
        catalog: Catalog,
        usage: UsageReads | None = None,
        *,
        flush_interval: float = 0.0,
    ) -> None:
        """Takes the generations, the models and, if the ledger can be read, its reads.

        `flush_interval` is that of streams whose request names none, in seconds.
        """
        self._flush_interval = flush_interval
        self._registry = registry
        self._catalog = catalog
        self._usage = usage
        self._requests = RequestReader(keep_encoded=registry.shared)
        # Generations count their inputs on the same threads, and must not wait for CountTokens calls.
        self._counting = asyncio.Semaphore(_MAX_CONCURRENT_COUNTS)

    async def stream_tokens(self, data: bytes, call: RpcCall) -> None:
        """Handles StreamTokens."""

        async def deliver(task: ReadableGeneration, subscription: Subscription, pace: float | None) -> None:
            self._set_pace(subscription, pace)
            await delivery.stream(task, subscription, call)

        await self._serve(pb.StreamTokensRequest, data, call, deliver)

    async def resume_tokens(self, data: bytes, call: RpcCall) -> None:
        """Handles ResumeTokens."""
        request = parse(pb.ResumeTokensRequest, data)
        generation_id = self._checked_id(request.generation_id, call)
        if request.after_sequence < 0:
            raise InvalidRequest([("after_sequence", "must not be negative")])
        checksum = request.output_checksum if request.HasField("output_checksum") else None
        checks = Checks()
        pace = flush_interval(request, checks)
        checks.done()
        cursor = Cursor(request.after_sequence, request.log_incarnation, checksum)
        await self._locate(generation_id, call)
        try:
            task, subscription = self._registry.resume(
                call.identity.tenant, generation_id, cursor, call.deadline_left, call.trace
            )
        except GenerationNotFound:
            # There may be another generation with this id, which the caller must not take for its own.
            call.failure = partial(Failure, generation_id=generation_id)
            raise
        self._set_pace(subscription, pace)
        await delivery.stream(task, subscription, call)

    async def generate_text(self, data: bytes, call: RpcCall) -> bytes:
        """Handles GenerateText."""

        async def answer(task: ReadableGeneration, subscription: Subscription, _: float | None) -> bytes:
            return (await delivery.answer(task, subscription)).SerializeToString()

        return await self._serve(pb.GenerateTextRequest, data, call, answer)

    async def cancel_generation(self, data: bytes, call: RpcCall) -> bytes:
        """Handles CancelGeneration."""
        request = parse(pb.CancelGenerationRequest, data)
        generation_id = self._checked_id(request.generation_id, call)
        await self._locate(generation_id, call)
        task = await self._registry.cancel(call.identity.tenant, generation_id)
        return pb.CancelGenerationResponse(generation=generation_message(task.snapshot())).SerializeToString()

    async def get_generation(self, data: bytes, call: RpcCall) -> bytes:
        """Handles GetGeneration."""
        request = parse(pb.GetGenerationRequest, data)
        generation_id = self._checked_id(request.generation_id, call)
        await self._locate(generation_id, call)
        try:
            found = generation_message(self._registry.get(call.identity.tenant, generation_id).snapshot())
        except (GenerationNotFound, StoreUnavailable):
            past = await self._past(call.identity.tenant, generation_id)
            if past is None:
                raise
            found = past
        return pb.GetGenerationResponse(generation=found).SerializeToString()

    async def count_tokens(self, data: bytes, call: RpcCall) -> bytes:
        """Handles CountTokens."""

        def gate(head: Head) -> None:
            self._usable_model(head.model, call)

        request = await self._requests.read(pb.CountTokensRequest, data, gate)
        model = self._usable_model(request.model, call)
        async with self._counting:
            count = await asyncio.to_thread(count_input, request, model)
        return pb.CountTokensResponse(
            input_token_count=count,
            source=SOURCES.there[count_source(request, model)],
            model=model.name,
        ).SerializeToString()

    async def list_models(self, data: bytes, call: RpcCall) -> bytes:
        """Handles ListModels."""
        request = parse(pb.ListModelsRequest, data)
        if request.page_size < 0:
            raise InvalidRequest([("page_size", "must not be negative")])
        size = min(request.page_size or _PAGE_SIZE, _MAX_PAGE_SIZE)
        after = _page_start(request.page_token)
        models = [m for m in self._catalog.all() if m.name > after and call.identity.tenant.may_use(m.name)]
        return pb.ListModelsResponse(
            models=[model_message(m, is_default=m.name == self._catalog.default) for m in models[:size]],
            next_page_token=_page_token(models[size - 1].name) if len(models) > size else "",
        ).SerializeToString()

    async def _past(self, tenant: Tenant, generation_id: str) -> Generation | None:
        """Returns what the ledger knows of a generation that is no longer kept; None if it knows nothing."""
        if self._usage is None:
            return None
        record = await self._usage.find(tenant.name, generation_id)
        return None if record is None else past_generation(record)

    async def _serve(
        self,
        kind: type[pb.StreamTokensRequest | pb.GenerateTextRequest],
        data: bytes,
        call: RpcCall,
        deliver: Callable[[ReadableGeneration, Subscription, float | None], Awaitable[T]],
    ) -> T:
        """Opens a generation and delivers it. Attaches if another server has begun it at the same moment."""
        for left in reversed(range(_STARTS)):
            task, subscription, request = await self._open(kind, data, call)
            try:
                return await deliver(task, subscription, request.flush_interval)
            except CallFailed as failed:
                if not left or not isinstance(failed.error, BegunElsewhere):
                    raise
        raise AssertionError("the last failure is raised")

    async def _open(
        self, kind: type[pb.StreamTokensRequest | pb.GenerateTextRequest], data: bytes, call: RpcCall
    ) -> tuple[ReadableGeneration, Subscription, GenerationRequest]:
        tenant = call.identity.tenant

        def gate(head: Head) -> None:
            self._set_failure(head.generation_id, call)
            self._registry.check_may_start(tenant, head.generation_id, head.model)

        try:
            request = await self._requests.read(kind, data, gate, gate_small=self._registry.rejecting)
        except InvalidRequest:
            with suppress(InvalidRequest):
                self._set_failure(head_of(kind, data).generation_id, call)
            raise
        try:
            await self._locate(request.generation_id, call)
        except StoreUnavailable:
            if not self._registry.starts_in_memory:
                raise
        request = with_engine_key(request, call.metadata)
        task, subscription = self._registry.open(
            request, call.identity, call.deadline_left, call.trace, call.peer.shown
        )
        call.generation_id = task.request.generation_id
        call.failure = _failure(task)
        return task, subscription, request

    def _set_pace(self, subscription: Subscription, seconds: float | None) -> None:
        """Sets the shortest time between messages of output on a stream, by default the server's."""
        subscription.flush_every(self._flush_interval if seconds is None else seconds)

    def _usable_model(self, name: str, call: RpcCall) -> ServedModel:
        model = self._catalog.resolve(name)
        call.identity.tenant.check_may_use(model.name)
        return model

    def _checked_id(self, generation_id: str, call: RpcCall) -> str:
        """Checks a generation id, and makes later errors of the call describe it. Raises InvalidRequest."""
        self._set_failure(generation_id, call)
        if not GENERATION_ID.fullmatch(generation_id):
            raise InvalidRequest([("generation_id", ID_RULE)])
        return generation_id

    async def _locate(self, generation_id: str, call: RpcCall) -> None:
        """Looks for a generation on other servers. Makes later errors of the call describe it."""
        self._set_failure(generation_id, call)
        await self._registry.locate(call.identity.tenant, generation_id)
        self._set_failure(generation_id, call)

    def _set_failure(self, generation_id: str, call: RpcCall) -> None:
        """Makes later errors of the call describe this generation."""
        call.generation_id = generation_id[:128]
        task = self._registry.find(call.identity.tenant, generation_id)
        call.failure = _failure(task) if task else partial(Failure, generation_id=call.generation_id)

    @property
    def handlers(self) -> dict[str, Handler[Any]]:
        """The handlers by the name of the RPC."""
        return {
            "StreamTokens": self.stream_tokens,
            "ResumeTokens": self.resume_tokens,
            "GenerateText": self.generate_text,
            "CancelGeneration": self.cancel_generation,
            "GetGeneration": self.get_generation,
            "CountTokens": self.count_tokens,
            "ListModels": self.list_models,
        }


def _failure(task: ReadableGeneration) -> Callable[[], Failure]:
    return lambda: failure_of(task.snapshot())


def _page_token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _page_start(token: str) -> str:
    try:
        return base64.b64decode(token, b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest([("page_token", "must be a next_page_token of this method")]) from error
