"""The gRPC connection to an engine: when it stands, its calls, and aborts by request id."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import grpc
from smg_vllm import vllm_engine_pb2 as pb
from smg_vllm.vllm_engine_pb2_grpc import VllmEngineStub

from tokengrpc.certificates import authorities
from tokengrpc.config.values import ConfigError
from tokengrpc.errors import EngineUnavailable
from tokengrpc.shortages import SHORTAGES, no_files_left

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

_GENERATE = "/vllm.grpc.engine.VllmEngine/Generate"
_PORTS = {"http": 80, "https": 443}
_State = grpc.ChannelConnectivity

# An abort is a courtesy after the call's cancellation, which vLLM takes for an abort as well.
_ABORT_SECONDS = 2.0

_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.use_local_subchannel_pool", 1),  # engines at one address are engines of their own
    # A link that was cut without a word is noticed in half a minute. vLLM allows a ping every 10 s.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)

GenerateCall = Any
"""A call of Generate, whose `read` returns bytes. grpc.aio's type says that it returns messages."""


class _Link:
    """A gRPC channel with the callables on it. `users` is the number of requests that wait or run on it."""

    __slots__ = ("channel", "generate", "stub", "users")

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.stub = VllmEngineStub(channel)  # type: ignore[no-untyped-call] # generated
        # No deserializer: grpc.aio swallows the errors of one and returns None.
        self.generate: Any = channel.unary_stream(
            _GENERATE, request_serializer=pb.GenerateRequest.SerializeToString
        )
        self.users = 0


class EngineChannel:
    """The connection to an engine. It is made anew when a request finds it broken."""

    def __init__(
        self, engine: str, base_url: str, *, ca_file: str, connect_timeout: float, max_message_bytes: int
    ) -> None:
        """`connect_timeout` is in seconds. `ca_file` is for https; empty: the certificates of the system."""
        self._engine = engine
        self._url = urlsplit(base_url)
        self._ca_file = ca_file
        self._roots: bytes | None = None
        self._connect_timeout = connect_timeout
        self._options = (*_OPTIONS, ("grpc.max_receive_message_length", max_message_bytes))
        self.metadata: Sequence[tuple[str, str]] = ()
        """What every call sends."""
        self._link: _Link | None = None
        self._connections = 0
        self._is_new = True  # nobody has used the connection that will stand next
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, key: str | None) -> None:
        """Gets ready to connect. `key` is sent with every call.

        Raises ConfigError if `ca_file` has no certificates.
        """
        if self._url.scheme == "https":
            try:
                self._roots = authorities(self._ca_file)
            except ValueError as error:
                raise ConfigError(f"engine {self._engine}: {error}") from None
        self.use_key(key)
        self._link = self._dial()

    def use_key(self, key: str | None) -> None:
        """Sends this key with the calls from now on."""
        self.metadata = (("authorization", f"Bearer {key}"),) if key else ()

    async def close(self) -> None:
        """Closes the connection. Aborts that are on their way are waited for."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._link is not None:
            await self._link.channel.close()
            self._link = None

    @property
    def stub(self) -> VllmEngineStub:
        """The stub of an open connection."""
        return self._opened.stub

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

    def generate(self, request: pb.GenerateRequest, headers: Mapping[str, str]) -> GenerateCall:
        """Begins a generation. `headers` are sent as metadata beside those of all calls."""
        link = self._opened
        call = link.generate(request, metadata=(*self.metadata, *headers.items()))
        link.users += 1
        call.add_done_callback(lambda _: self._leave(link))
        return call

    def abort(self, request_id: str) -> None:
        """Tells the engine to stop a generation, without waiting for the answer."""
        self._begin(self._abort(request_id))

    @property
    def _opened(self) -> _Link:
        if self._link is None:
            raise EngineUnavailable(f"engine {self._engine} is not started; wait until the server is ready")
        return self._link

    def _dial(self) -> _Link:
        url = self._url
        target = url.netloc if url.port else f"{url.netloc}:{_PORTS[url.scheme]}"
        if url.scheme == "https":
            credentials = grpc.ssl_channel_credentials(self._roots)
            return _Link(grpc.aio.secure_channel(target, credentials, options=self._options))
        return _Link(grpc.aio.insecure_channel(target, options=self._options))

    async def _until_ready(self) -> None:
        link = self._opened
        state = link.channel.get_state(try_to_connect=True)
        if state is _State.READY and not self._is_new:
            return
        if state is _State.TRANSIENT_FAILURE:
            # gRPC waits before it tries again. An earlier request's failure is not this one's.
            self._retire(link)
            link = self._link = self._dial()
            state = link.channel.get_state(try_to_connect=True)
        link.users += 1
        try:
            while state is not _State.READY:
                self._is_new = True
                if state is _State.TRANSIENT_FAILURE:
                    if short := no_files_left():
                        raise SHORTAGES.error(short)
                    raise EngineUnavailable(
                        f"engine {self._engine} cannot be reached; check that it is running and its base_url"
                    )
                await link.channel.wait_for_state_change(state)
                state = link.channel.get_state(try_to_connect=True)
        finally:
            self._leave(link)
        self._connections += self._is_new
        self._is_new = False

    def _leave(self, link: _Link) -> None:
        link.users -= 1
        if link is not self._link:
            self._retire(link)

    def _retire(self, link: _Link) -> None:
        """Closes a link that failed, once nobody uses it: closing would cancel the calls on it."""
        if not link.users:
            self._begin(link.channel.close())

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _abort(self, request_id: str) -> None:
        with suppress(grpc.aio.AioRpcError, EngineUnavailable):
            request = pb.AbortRequest(request_ids=[request_id])
            await self.stub.Abort(request, timeout=_ABORT_SECONDS, metadata=self.metadata)
