"""Pipes: connections on which calls go out in groups, one group in flight."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import hiredis
import structlog
from redis.exceptions import (
    AskError,
    MasterDownError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from tokengrpc.core.ports.log import LogRefused
from tokengrpc.errors import StoreUnavailable
from tokengrpc.stores.redis.sealing import CHANGED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from redis.asyncio.connection import AbstractConnection

log = structlog.get_logger(__name__)

Argument = str | bytes | int

_MAX_GROUP = 256
"""Most calls of a group."""
_RECONNECT = (ReadOnlyError, NoScriptError, MasterDownError)
"""Replies that a new connection may mend: it loads the scripts, and asks which server takes writes."""
BROKEN = (RedisError, OSError, RuntimeError)
"""What a broken connection raises. uvloop raises RuntimeError for one that broke before it was written to."""
FOREIGN = ("WRONGTYPE", "user_script:")
"""How errors begin that say nothing of the store: a key has what the servers have not written."""
_WAIT_SHARE = 0.7
"""Share of a call's time for which replicas are waited for."""


class Redirected(Exception):
    """A reply of a cluster's node: another node has the key, for this call alone if `ask`."""

    def __init__(self, address: tuple[str, int], *, ask: bool) -> None:
        super().__init__(address)
        self.address = address
        self.ask = ask


@dataclass(frozen=True, kw_only=True)
class PipeSettings:
    """`delay` is the least time between two groups, `timeout` bounds a group, both in seconds.

    Calls gather until the next group may go out; one that comes later than that is sent at once. After
    durable calls, `replicas` acknowledgements are waited for. `backoff` returns the delays in seconds between
    attempts to connect.
    """

    delay: float
    timeout: float
    replicas: int
    backoff: Callable[[], Iterator[float]]


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    """`packed` is `commands` commands, of which the last one's reply counts."""

    packed: bytes
    commands: int
    durable: bool
    reply: asyncio.Future[Any]


class Pipe:
    """A connection to one node. `connect` returns one that is connected."""

    def __init__(
        self, name: str, connect: Callable[[], Awaitable[AbstractConnection]], settings: PipeSettings
    ) -> None:
        self._name = name
        self._connect = connect
        self._settings = settings
        self._calls: list[_Call] = []
        self._called = asyncio.Event()
        self._connection: AbstractConnection | None = None
        self._backoff: Iterator[float] | None = None
        # What was logged of refused logs already: callers may ask for them again and again.
        self._told: set[str] = set()
        self._closed = False
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def call(self, *arguments: Argument, durable: bool = False, asking: bool = False) -> Any:  # noqa: ANN401 - replies have any type
        """Makes a call, and returns its reply; if `durable`, once the replicas have acknowledged it.

        Raises StoreUnavailable or Redirected. A call may be cancelled; what was sent stays sent.
        """
        if self._closed:
            raise StoreUnavailable("the event store's connection was closed: try again later")
        reply = asyncio.get_running_loop().create_future()
        packed = _pack(*arguments)
        call = (
            _Call(_pack("ASKING") + packed, 2, durable, reply) if asking else _Call(packed, 1, durable, reply)
        )
        self._calls.append(call)
        self._called.set()
        return await reply

    async def close(self) -> None:
        """Disconnects. Calls that are under way fail."""
        self._closed = True
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._fail(self._take(len(self._calls)), "was closed")
        await self._disconnect()

    async def _run(self) -> None:
        now = asyncio.get_running_loop().time
        due = now()
        while True:
            await self._called.wait()
            if (wait := due - now()) > 0:
                await asyncio.sleep(wait)
            due = now() + self._settings.delay
            group = self._take(_MAX_GROUP)
            if group:
                await self._send(group)

    def _take(self, most: int) -> list[_Call]:
        """Removes the first calls that somebody still waits for."""
        taken, self._calls = self._calls[:most], self._calls[most:]
        if not self._calls:
            self._called.clear()
        return [call for call in taken if not call.reply.done()]

    async def _send(self, group: Sequence[_Call]) -> None:
        settings = self._settings
        try:
            async with asyncio.timeout(settings.timeout):
                connection = await self._connected()
                waits = settings.replicas > 0 and any(call.durable for call in group)
                packed = [call.packed for call in group]
                if waits:
                    wait_ms = max(1, round(settings.timeout * 1000 * _WAIT_SHARE))
                    packed.append(_pack("WAIT", settings.replicas, wait_ms))
                await connection.send_packed_command(packed, check_health=False)
                replies = [[await _read(connection) for _ in range(call.commands)][-1] for call in group]
                acknowledged = await _read(connection) if waits else settings.replicas
        except TimeoutError:
            await self._failed(group, f"did not answer within {settings.timeout:g} s")
        except BROKEN as error:
            await self._failed(group, "cannot be reached", _words(error))
        except asyncio.CancelledError:
            self._fail(group, "was closed")
            raise
        else:
            await self._settle(group, replies, acknowledged)

    async def _connected(self) -> AbstractConnection:
        if self._connection is None:
            if self._backoff is not None:
                await asyncio.sleep(next(self._backoff))
            self._connection = await self._connect()
            self._backoff = None
        return self._connection

    async def _settle(self, group: Sequence[_Call], replies: Sequence[Any], acknowledged: Any) -> None:  # noqa: ANN401 - a number, or an error
        """Resolves calls with their replies. Reconnects if that may mend what the store refused."""
        mend = False
        needed = self._settings.replicas
        enough = not isinstance(acknowledged, ResponseError) and acknowledged >= needed
        if not enough:
            mend = True  # a server that lost its replicas may have been replaced
            log.warning(
                "the event store's replicas do not acknowledge", needed=needed, have=str(acknowledged)
            )
        for call, reply in zip(group, replies, strict=True):
            if isinstance(reply, _RECONNECT):
                mend = True
            if call.reply.done():
                continue
            if isinstance(reply, ResponseError):
                call.reply.set_exception(self._raised(reply))
            elif call.durable and not enough:
                call.reply.set_exception(
                    StoreUnavailable("too few replicas of the event store have the events: try again later")
                )
            else:
                call.reply.set_result(reply)
        if mend:
            await self._disconnect()

    def _raised(self, error: ResponseError) -> Exception:
        if isinstance(error, AskError):  # a MovedError is one
            return Redirected((error.host, error.port), ask=not isinstance(error, MovedError))
        # The words name users, keys and addresses: they are for the operator.
        cause = _words(error)
        if not cause.startswith(FOREIGN):
            log.warning("the event store refused a call", cause=cause)
            return StoreUnavailable("the event store refused a call: try again later")
        if cause not in self._told:
            self._told.add(cause)
            log.warning("the event store has data of others at a key of ours", cause=cause)
        return LogRefused(CHANGED)

    async def _failed(self, group: Sequence[_Call], why: str, cause: str = "") -> None:
        if self._backoff is None:
            self._backoff = self._settings.backoff()
            log.warning("the event store is away", connection=self._name, cause=cause or why)
        self._fail(group, why)
        await self._disconnect()

    def _fail(self, group: Sequence[_Call], why: str) -> None:
        for call in group:
            if not call.reply.done():
                call.reply.set_exception(StoreUnavailable(f"the event store {why}: try again later"))

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await hang_up(connection)


async def hang_up(connection: AbstractConnection) -> None:
    """Disconnects. Raises nothing."""
    with suppress(*BROKEN):
        await connection.disconnect(nowait=True)


async def _read(connection: AbstractConnection) -> Any:  # noqa: ANN401 - replies have any type
    """Returns the next reply; an error that the server sent is returned as well."""
    try:
        return await connection.read_response(disconnect_on_error=False)
    except ResponseError as error:
        return error


def _pack(*arguments: Argument) -> bytes:
    packed: bytes = hiredis.pack_command(arguments)  # type: ignore[arg-type]  # it is annotated as if for one
    return packed


def _words(error: BaseException) -> str:
    """Returns an error's first line, for people. The store's errors name keys, but no content."""
    return str(error).partition("\n")[0][:200] or type(error).__name__
