"""The gRPC connection to an engine: when it stands, its calls, and aborts by request id."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import grpc
from smg_vllm import vllm_engine_pb2 as pb
from smg_vllm.vllm_engine_pb2_grpc import VllmEngineStub

from tokengrpc.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

_GENERATE = "/vllm.grpc.engine.VllmEngine/Generate"
_PORTS = {"http": 80, "https": 443}

# An abort is a courtesy after the call's cancellation, which vLLM takes for an abort as well.
_ABORT_SECONDS = 5.0

_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.use_local_subchannel_pool", 1),  # engines at one address are engines of their own
    # An engine that comes back is noticed within a second, and one that is away refuses that soon.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A link that was cut without a word is noticed in half a minute. vLLM allows a ping every 10 s.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)

GenerateCall = Any
"""A call of Generate, whose `read` returns bytes. grpc.aio's type says that it returns messages."""


class EngineChannel:
    """One connection to an engine. It is made anew when a request finds it broken."""

    def __init__(self, engine: str, base_url: str, *, connect_timeout: float, max_message_bytes: int) -> None:
        """`connect_timeout` is in seconds."""
        self._engine = engine
        self._url = urlsplit(base_url)
        self._connect_timeout = connect_timeout
        self._options = (*_OPTIONS, ("grpc.max_receive_message_length", max_message_bytes))
        self._metadata: Sequence[tuple[str, str]] = ()
        self._channel: grpc.aio.Channel | None = None
        self._stub: VllmEngineStub | None = None
        self._generate: Any = None
        self._connections = 0
        self._is_new = True  # nobody has used the connection that will stand next
        self._aborts: set[asyncio.Task[None]] = set()

    def open(self, key: str | None) -> None:
        """Gets ready to connect. `key` is sent with every call."""
        url = self._url
        target = url.netloc if url.port else f"{url.netloc}:{_PORTS[url.scheme]}"
        if url.scheme == "https":
            credentials = grpc.ssl_channel_credentials()
            self._channel = grpc.aio.secure_channel(target, credentials, options=self._options)
        else:
            self._channel = grpc.aio.insecure_channel(target, options=self._options)
        self._metadata = (("authorization", f"Bearer {key}"),) if key else ()
        self._stub = VllmEngineStub(self._channel)  # type: ignore[no-untyped-call] # generated
        # No deserializer: grpc.aio swallows the errors of one and returns None.
        self._generate = self._channel.unary_stream(
            _GENERATE, request_serializer=pb.GenerateRequest.SerializeToString
        )

    async def close(self) -> None:
        """Closes the connection. Aborts that are on their way are waited for."""
        await asyncio.gather(*self._aborts, return_exceptions=True)
        if self._channel is not None:
            await self._channel.close()
            self._channel = self._stub = None

    @property
    def stub(self) -> VllmEngineStub:
        """The stub of an open connection."""
        if self._stub is None:
            raise EngineUnavailable(f"engine {self._engine} is not started; wait until the server is ready")
        return self._stub

    @property
    def metadata(self) -> Sequence[tuple[str, str]]:
        """What every call sends."""
        return self._metadata

    async def connect(self, connect_timeout: float | None = None) -> int:
        """Waits until the connection stands. Returns its number: a higher one than before if it is new.

        `connect_timeout` is a shorter bound, in seconds, than the engine's own. Raises EngineUnavailable.
        """
        limit = min(connect_timeout or self._connect_timeout, self._connect_timeout)
        clock = asyncio.timeout(limit)
        try:
            async with clock:
                await self._until_ready()
        except TimeoutError:
            raise EngineUnavailable(
                f"engine {self._engine} gave no connection within {limit:g} s; check that it is running",
                metadata={"clock": "connect", "limit_seconds": f"{limit:g}"},
            ) from None
        return self._connections

    async def _until_ready(self) -> None:
        channel, tried = self._channel, False
        if channel is None:
            raise EngineUnavailable(f"engine {self._engine} is not started; wait until the server is ready")
        state = channel.get_state(try_to_connect=True)
        while state is not grpc.ChannelConnectivity.READY:
            # An earlier request's failure is not this one's: the backoff after it is waited for.
            if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE and tried:
                raise EngineUnavailable(
                    f"engine {self._engine} cannot be reached; check that it is running and its base_url"
                )
            tried = tried or state is not grpc.ChannelConnectivity.TRANSIENT_FAILURE
            self._is_new = True
            await channel.wait_for_state_change(state)
            state = channel.get_state(try_to_connect=True)
        self._connections += self._is_new
        self._is_new = False

    def generate(self, request: pb.GenerateRequest) -> GenerateCall:
        """Begins a generation."""
        return self._generate(request, metadata=self._metadata)

    def abort(self, request_id: str) -> None:
        """Tells the engine to stop a generation, without waiting for the answer."""
        task = asyncio.get_running_loop().create_task(self._abort(request_id))
        self._aborts.add(task)
        task.add_done_callback(self._aborts.discard)

    async def _abort(self, request_id: str) -> None:
        with suppress(grpc.aio.AioRpcError, EngineUnavailable):
            request = pb.AbortRequest(request_ids=[request_id])
            await self.stub.Abort(request, timeout=_ABORT_SECONDS, metadata=self._metadata)
