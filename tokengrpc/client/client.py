"""The asyncio client: `async with TokenStreamClient("host:port") as client`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

import grpc
from tokenstreaming.v1 import token_stream_pb2 as pb

from tokengrpc.client.channel import CONTROL_TIMEOUT, call_metadata, channel_options
from tokengrpc.client.connection import Connection
from tokengrpc.client.errors import TokenStreamError
from tokengrpc.client.plan import Plan, plan_stream
from tokengrpc.client.policy import ResumePolicy
from tokengrpc.client.request import build_request
from tokengrpc.client.stream import TokenStream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Unpack

    from tokenstreaming.v1.generation_pb2 import Generation
    from tokenstreaming.v1.model_pb2 import Model

    from tokengrpc.client.plan import OnDeadline
    from tokengrpc.client.request import Input, RequestOptions


class TokenStreamClient:
    """Asyncio client of one server, or of the replicas behind one name.

    All calls raise TokenStreamError. Streams resume after dropped connections within the bounds of `policy`.
    """

    def __init__(
        self,
        target: str,
        *,
        token: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        options: Sequence[tuple[str, Any]] = (),
        service_config: str | Mapping[str, Any] | None = None,
        policy: ResumePolicy | None = None,
    ) -> None:
        """Creates a client that connects to `target` (`host:port`, `unix:…`, `dns:///…`) on its first call.

        `token` is sent as a bearer token. `credentials` None means plaintext. Channel `options` and
        `service_config` take precedence over the client's defaults (see `tokengrpc.client.channel`).
        """
        merged = channel_options(options, service_config)
        channel = (
            grpc.aio.insecure_channel(target, merged)
            if credentials is None
            else grpc.aio.secure_channel(target, credentials, merged)
        )
        self._connection = Connection(channel, call_metadata(token), policy or ResumePolicy())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the open streams, which cancels their generations, and the channel."""
        await self._connection.close()

    def stream(
        self,
        source: Input,
        *,
        generation_id: str | None = None,
        resumable: bool = True,
        timeout: float | None = None,
        on_deadline: OnDeadline = "fail",
        **options: Unpack[RequestOptions],
    ) -> TokenStream:
        """Returns a stream that starts a generation when reading begins.

        `source` is a prompt, a Conversation or a complete request. A `resumable` stream resumes after a
        dropped connection, and cancels its generation when it is closed early. If it is not resumable, the
        server cancels the generation when the connection breaks.

        After `timeout` seconds the server ends the generation and keeps its partial output. The stream then
        raises DeadlineExceededError or, with `on_deadline="partial"`, ends normally. If the generation's end
        does not arrive in time, the stream raises DeadlineExceededError in both cases.

        Raises TypeError for an unsupported input or an unknown option, ValueError for an invalid `timeout` or
        `on_deadline`.
        """
        plan = plan_stream(
            build_request(source, options, self.stream),
            generation_id=generation_id,
            resumable=resumable,
            timeout=timeout,
            on_deadline=on_deadline,
        )
        return TokenStream(self._connection, plan)

    def resume(self, generation_id: str, after: int = 0, *, timeout: float | None = None) -> TokenStream:
        """Returns a stream of the events after sequence `after` of a generation that another call started.

        Closing this stream does not cancel the generation.
        """
        return TokenStream(self._connection, Plan(generation_id=generation_id, after=after, timeout=timeout))

    async def generate(
        self,
        source: Input,
        *,
        generation_id: str | None = None,
        timeout: float | None = None,
        on_deadline: OnDeadline = "fail",
        **options: Unpack[RequestOptions],
    ) -> pb.GenerateTextResponse:
        """Runs a generation and returns its complete answer. The arguments are those of `stream`."""
        plan = plan_stream(
            build_request(source, options, self.generate),
            generation_id=generation_id,
            timeout=timeout,
            on_deadline=on_deadline,
        )
        connection = self._connection
        request = pb.GenerateTextRequest(request=plan.request)
        try:
            return await connection.unary(connection.stub.GenerateText, request, timeout)
        except asyncio.CancelledError:
            await asyncio.shield(connection.cancel_abandoned(plan.generation_id))
            raise
        except TokenStreamError as error:
            # If the connection broke, the caller can still resume the generation by its id.
            error.generation_id = plan.generation_id
            raise

    async def cancel(self, generation_id: str, *, timeout: float | None = CONTROL_TIMEOUT) -> Generation:
        """Cancels a generation for all its readers and returns its final state. The call is idempotent."""
        return await self._connection.cancel(generation_id, timeout)

    async def get(self, generation_id: str, *, timeout: float | None = CONTROL_TIMEOUT) -> Generation:
        """Returns a generation: state, usage, kept events and outcome."""
        return await self._connection.get(generation_id, timeout)

    async def count(
        self, source: Input, *, timeout: float | None = CONTROL_TIMEOUT, **options: Unpack[RequestOptions]
    ) -> pb.CountTokensResponse:
        """Counts the input tokens that a request would be billed for. It generates nothing."""
        request = pb.CountTokensRequest(request=build_request(source, options, self.count))
        return await self._connection.unary(self._connection.stub.CountTokens, request, timeout)

    async def models(self, *, timeout: float | None = CONTROL_TIMEOUT) -> list[Model]:
        """Returns all models that the caller may use, from all pages. `timeout` applies to each page."""
        models: list[Model] = []
        request = pb.ListModelsRequest()
        while True:
            page = await self._connection.unary(self._connection.stub.ListModels, request, timeout)
            models.extend(page.models)
            if not page.next_page_token:
                return models
            request.page_token = page.next_page_token
