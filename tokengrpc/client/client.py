"""The asyncio client: `async with TokenStreamClient("host:port") as client`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

import grpc
from tokenstreaming.v1 import token_stream_pb2 as pb

from tokengrpc.client.admin import Admin
from tokengrpc.client.channel import CONTROL_TIMEOUT, call_metadata, channel_options, channel_target
from tokengrpc.client.connection import Connection
from tokengrpc.client.connections import Connections
from tokengrpc.client.errors import TokenStreamError
from tokengrpc.client.plan import plan_resume, plan_stream
from tokengrpc.client.policy import ResumePolicy
from tokengrpc.client.request import build_request
from tokengrpc.client.stream import TokenStream
from tokengrpc.client.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Unpack

    from tokenstreaming.v1.generation_pb2 import Generation
    from tokenstreaming.v1.model_pb2 import Model

    from tokengrpc.client.channel import Token
    from tokengrpc.client.cursor import Cursor
    from tokengrpc.client.plan import OnDeadline
    from tokengrpc.client.request import Input, RequestOptions


class TokenStreamClient:
    """Asyncio client of one server, or of the replicas behind one name.

    All calls raise TokenStreamError. Streams resume after dropped connections within the bounds of `policy`.
    `usage` reads the usage ledger. `admin` changes tenants and keys.
    """

    def __init__(
        self,
        target: str | Sequence[str],
        *,
        token: Token = None,
        credentials: grpc.ChannelCredentials | None = None,
        options: Sequence[tuple[str, Any]] = (),
        service_config: str | Mapping[str, Any] | None = None,
        policy: ResumePolicy | None = None,
    ) -> None:
        """Creates a client that connects to `target` (`host:port`, `unix:…`, `dns:///…`) on its first call.

        A list of IP addresses with ports, or a name with several addresses, stands for replicas that share an
        event store: calls go to all of them by turns, past those that are down. For replicas without a store,
        pass `service_config=ONE_REPLICA`.

        `token` is sent as a bearer token. A function is called before each call, and returns the token of
        that moment; it must not block. `credentials` None means plaintext. Channel `options` and
        `service_config` take precedence over the client's defaults (see `tokengrpc.client.channel`).
        Raises ValueError for a URL.
        """
        address = channel_target(target)
        merged = channel_options(options, service_config)
        metadata = call_metadata(token)
        policy = policy or ResumePolicy()

        def connect() -> Connection:
            channel = (
                grpc.aio.insecure_channel(address, merged)
                if credentials is None
                else grpc.aio.secure_channel(address, credentials, merged)
            )
            return Connection(channel, metadata, policy)

        self._target = address
        self._policy = policy
        self._connections = Connections(connect, by_loop=True)
        self.usage = Usage(self._connections, policy)
        self.admin = Admin(self._connections)

    def __repr__(self) -> str:
        return f"<TokenStreamClient of {self._target}>"

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
        """Closes the running loop's open streams, which cancels their generations, and its channel.

        Later calls raise TokenStreamError.
        """
        if connection := self._connections.close():
            await connection.close()

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

        `source` is a prompt, a Conversation or a complete request. The options, all optional, are `model`,
        `max_tokens`, `temperature`, `top_p`, `top_k`, `seed`, `stop` (one text or several), `tools`,
        `tool_choice`, `json_schema` (JSON text), `max_engine_switch_count`, `session_id`,
        `priority` ("interactive", "standard" or "batch") and `labels`.

        A `resumable` stream resumes after a
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
        return TokenStream(self._connections, self._policy, plan)

    def resume(
        self, cursor: Cursor | str, *, cancel_on_close: bool = False, timeout: float | None = None
    ) -> TokenStream:
        """Returns a stream of the events after a cursor, of a generation that another call started.

        `cursor` is a Cursor or its text, as a stream of any language gave it. `Cursor(generation_id)` is the
        start of a generation. Closing this stream cancels the generation only with `cancel_on_close`.

        Raises InvalidRequestError for an invalid cursor, ValueError for an invalid `timeout`.
        """
        plan = plan_resume(cursor, cancel_on_close=cancel_on_close, timeout=timeout)
        return TokenStream(self._connections, self._policy, plan)

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
        connection = self._connections.here()
        request = pb.GenerateTextRequest(request=plan.request)
        try:
            return await connection.unary(connection.stub.GenerateText, request, timeout)
        except asyncio.CancelledError:
            await asyncio.shield(connection.cancel_abandoned(plan.cursor.generation_id))
            raise
        except TokenStreamError as error:
            # If the connection broke, the caller can still resume the generation by its id.
            error.generation_id = plan.cursor.generation_id
            raise

    async def cancel(self, generation_id: str, *, timeout: float | None = CONTROL_TIMEOUT) -> Generation:
        """Cancels a generation for all its readers and returns its final state. The call is idempotent."""
        return await self._connections.here().cancel(generation_id, timeout)

    async def get(self, generation_id: str, *, timeout: float | None = CONTROL_TIMEOUT) -> Generation:
        """Returns a generation: state, usage, kept events and outcome."""
        return await self._connections.here().get(generation_id, timeout)

    async def count(
        self, source: Input, *, timeout: float | None = CONTROL_TIMEOUT, **options: Unpack[RequestOptions]
    ) -> pb.CountTokensResponse:
        """Counts the input tokens that a request would be billed for. It generates nothing."""
        request = pb.CountTokensRequest(request=build_request(source, options, self.count))
        connection = self._connections.here()
        return await connection.unary(connection.stub.CountTokens, request, timeout)

    async def models(self, *, timeout: float | None = CONTROL_TIMEOUT) -> list[Model]:
        """Returns all models that the caller may use, from all pages. `timeout` applies to each page."""
        connection = self._connections.here()
        models: list[Model] = []
        request = pb.ListModelsRequest()
        while True:
            page = await connection.unary(connection.stub.ListModels, request, timeout)
            models.extend(page.models)
            if not page.next_page_token:
                return models
            request.page_token = page.next_page_token
