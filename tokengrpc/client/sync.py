"""The blocking client: `with SyncTokenStreamClient("host:port") as client`; the twin of `client`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import grpc
from tokenstreaming.v1 import token_stream_pb2 as pb

from tokengrpc.client.channel import CONTROL_TIMEOUT, call_metadata, channel_options
from tokengrpc.client.errors import TokenStreamError
from tokengrpc.client.plan import Plan, plan_stream
from tokengrpc.client.policy import ResumePolicy
from tokengrpc.client.request import build_request
from tokengrpc.client.sync_connection import SyncConnection
from tokengrpc.client.sync_stream import SyncTokenStream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Unpack

    from tokenstreaming.v1.generation_pb2 import Generation
    from tokenstreaming.v1.model_pb2 import Model

    from tokengrpc.client.plan import OnDeadline
    from tokengrpc.client.request import Input, RequestOptions


class SyncTokenStreamClient:
    """Streams tokens from one server, or from the replicas behind one name. Threads may share it.

    All calls raise TokenStreamError. Streams survive dropped connections within their `policy`.
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
        """Connects to `target` (`host:port`, `unix:…`, `dns:///…`) when the first call is made.

        `token` is sent as a bearer token; `credentials` None means plaintext; channel `options` and
        `service_config` win over the client's own (see `tokengrpc.client.channel`).
        """
        merged = channel_options(options, service_config)
        channel = (
            grpc.insecure_channel(target, merged)
            if credentials is None
            else grpc.secure_channel(target, credentials, merged)
        )
        self._connection = SyncConnection(channel, call_metadata(token), policy or ResumePolicy())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the streams that are still open, as if their readers stopped, and the connection."""
        self._connection.close()

    def stream(
        self,
        source: Input,
        *,
        generation_id: str | None = None,
        resumable: bool = True,
        timeout: float | None = None,
        on_deadline: OnDeadline = "fail",
        **options: Unpack[RequestOptions],
    ) -> SyncTokenStream:
        """Starts a generation of a prompt, a Conversation or a whole request, when reading begins.

        A `resumable` stream goes on after a dropped connection, and stops its generation when it is left;
        otherwise the generation stops with the connection. After `timeout` seconds the generation ends on
        the server with what there is, and the stream fails with DeadlineExceededError or, with
        `on_deadline="partial"`, ends. (It fails in both cases when even that end did not arrive in time.)

        Raises TypeError for an input or an option that does not exist.
        """
        plan = plan_stream(
            build_request(source, options, self.stream),
            generation_id=generation_id,
            resumable=resumable,
            timeout=timeout,
            on_deadline=on_deadline,
        )
        return SyncTokenStream(self._connection, plan)

    def resume(self, generation_id: str, after: int = 0, *, timeout: float | None = None) -> SyncTokenStream:
        """Reads a generation that another call started, from the event after `after` on.

        Leaving the stream leaves the generation alone.
        """
        return SyncTokenStream(
            self._connection, Plan(generation_id=generation_id, after=after, timeout=timeout)
        )

    def generate(
        self,
        source: Input,
        *,
        generation_id: str | None = None,
        timeout: float | None = None,
        on_deadline: OnDeadline = "fail",
        **options: Unpack[RequestOptions],
    ) -> pb.GenerateTextResponse:
        """Runs a generation and answers it whole; arguments as for `stream`."""
        plan = plan_stream(
            build_request(source, options, self.generate),
            generation_id=generation_id,
            timeout=timeout,
            on_deadline=on_deadline,
        )
        connection = self._connection
        request = pb.GenerateTextRequest(request=plan.request)
        try:
            return connection.unary(connection.stub.GenerateText, request, timeout)
        except KeyboardInterrupt:
            connection.leave(plan.generation_id)
            raise
        except TokenStreamError as error:
            # Where the call broke on the way, its generation can still be resumed.
            error.generation_id = plan.generation_id
            raise

    def cancel(self, generation_id: str, *, timeout: float | None = CONTROL_TIMEOUT) -> Generation:
        """Stops a generation for all its readers and answers it as it ended; again changes nothing."""
        return self._connection.cancel(generation_id, timeout)

    def get(self, generation_id: str, *, timeout: float | None = CONTROL_TIMEOUT) -> Generation:
        """What is known of a generation: state, usage, kept events, outcome."""
        return self._connection.get(generation_id, timeout)

    def count(
        self, source: Input, *, timeout: float | None = CONTROL_TIMEOUT, **options: Unpack[RequestOptions]
    ) -> pb.CountTokensResponse:
        """The input tokens that a request would be billed for; nothing is generated."""
        request = pb.CountTokensRequest(request=build_request(source, options, self.count))
        return self._connection.unary(self._connection.stub.CountTokens, request, timeout)

    def models(self, *, timeout: float | None = CONTROL_TIMEOUT) -> list[Model]:
        """The models that the caller may use, all pages; `timeout` is for each page."""
        models: list[Model] = []
        request = pb.ListModelsRequest()
        while True:
            page = self._connection.unary(self._connection.stub.ListModels, request, timeout)
            models.extend(page.models)
            if not page.next_page_token:
                return models
            request.page_token = page.next_page_token
