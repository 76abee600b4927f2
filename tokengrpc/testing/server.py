"""A real server on a free port, in a thread of its own, with an engine that says what a test has scripted."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar

import structlog

from tokengrpc.config.build import build
from tokengrpc.config.messages import Problem
from tokengrpc.server import Server
from tokengrpc.testing.engine import ScriptedEngine
from tokengrpc.testing.proxy import Proxy
from tokengrpc.testing.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Mapping, Sequence

    from tokengrpc.config import Settings
    from tokengrpc.core.request import GenerationRequest

T = TypeVar("T")

_GREETING = "Hello, world!"
_NO_LIMIT = 1_000_000


def serve(
    *replies: Reply | str, model: str = "scripted", settings: Mapping[str, Any] | None = None
) -> ScriptedServer:
    """Returns a server for a `with` or an `async with` block, in which it runs.

    The first generation gets the first reply, and so on; the last one repeats. A string is said word by word.
    `settings` are those of a settings file, such as `{"limits": {"replay_ttl": 1.0}}`, without models.
    Raises ValueError for invalid settings.
    """
    return ScriptedServer(_replies(replies or (_GREETING,)), _settings(model, settings or {}))


class ScriptedServer:
    """A running server. Its methods may be called from any thread, and return when they have taken effect.

    The server is reached through a proxy, so `target` stays the same when it restarts.
    """

    def __init__(self, replies: Sequence[Reply], settings: Settings) -> None:
        self._settings = settings
        (model,) = settings.models
        self._proxy = Proxy()
        self._engine = ScriptedEngine(model.name, replies, self._proxy.admit)
        self._server: Server | None = None
        self._draining: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None
        self._started: Future[asyncio.AbstractEventLoop] = Future()
        self._leaving: asyncio.Event

    @property
    def target(self) -> str:
        """The address for clients, `host:port`."""
        return self._proxy.target

    @property
    def requests(self) -> Sequence[GenerationRequest]:
        """The requests that the engine has received, oldest first."""
        return tuple(self._engine.requests)

    def script(self, *replies: Reply | str) -> None:
        """Replaces the replies, for generations that start from now on."""
        scripted = _replies(replies)

        async def script() -> None:
            self._engine.script(scripted)

        self._run(script())

    def drop_connections(self, *, after_tokens: int = 0) -> None:
        """Closes all connections of callers: now, or when exactly this many more tokens were sent to them.

        The engine waits for it, so no further token is sent before. As in real life, gRPC may discard what
        has arrived and was not read yet. Where a caller must have read a token, use a `Hold` after it. Tokens
        that are not sent one by one, as in GenerateText, count a second after the engine has said them.
        """

        async def drop() -> None:
            if after_tokens:
                self._proxy.drop_after(after_tokens)
            else:
                self._proxy.drop()

        self._run(drop())

    def restart(self) -> None:
        """Replaces the server by a new one that knows no generation, as after a crash. The script goes on."""
        self._run(self._restart())

    def drain(self, seconds: float = 30.0) -> None:
        """Begins a graceful shutdown, as on SIGTERM. `restart` ends it."""
        self._run(self._drain(seconds))

    def __enter__(self) -> Self:
        with self._starting():
            self._started.result()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    async def __aenter__(self) -> Self:
        with self._starting():
            # Shielded, because the server must still be able to say that it has started.
            await asyncio.shield(asyncio.wrap_future(self._started))
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._stop)

    @contextmanager
    def _starting(self) -> Iterator[None]:
        """Starts the server, and stops it again if the wait for it is interrupted: then nobody leaves it."""
        if self._thread is not None:
            raise RuntimeError("this server has been started already: call serve() again for another one")
        _log_to_logging()
        self._thread = threading.Thread(target=self._main, name="tokengrpc.testing", daemon=True)
        try:
            self._thread.start()
            yield
        except BaseException:
            self._stop()
            raise

    def _stop(self) -> None:
        if self._thread is not None:
            self._started.add_done_callback(self._leave)
            self._started.exception()  # by then the thread can be joined, even if its start was interrupted
            self._thread.join()

    def _leave(self, started: Future[asyncio.AbstractEventLoop]) -> None:
        if started.exception() is None:
            with suppress(RuntimeError):  # the loop is closed
                started.result().call_soon_threadsafe(self._leaving.set)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine in the server's loop, and returns its result."""
        if self._thread is None or not self._thread.is_alive():
            work.close()
            raise RuntimeError("the server is not running: use it in a `with` or `async with` block")
        return asyncio.run_coroutine_threadsafe(work, self._started.result()).result()

    def _main(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if self._started.done():
                raise
            self._started.set_exception(error)

    async def _serve(self) -> None:
        self._leaving = asyncio.Event()
        try:
            await self._proxy.listen()
            await self._begin()
            self._started.set_result(asyncio.get_running_loop())
            await self._leaving.wait()
        finally:
            await self._proxy.close()
            await self._end()

    async def _begin(self) -> None:
        (model,) = self._settings.models
        self._server = Server(self._settings, observers=(), engines={model.name: self._engine})
        await self._server.start()
        self._proxy.lead_to(self._server.port)

    async def _end(self) -> None:
        if self._draining is not None:
            self._draining.cancel()
            self._draining = None
        if self._server is not None:
            await self._server.stop()

    async def _restart(self) -> None:
        self._proxy.lead_to(0)
        await self._end()
        await self._begin()

    async def _drain(self, seconds: float) -> None:
        if self._server is not None and self._draining is None:
            await self._server.begin_drain(seconds)
            self._draining = asyncio.create_task(self._server.finish_drain(seconds))


def _replies(replies: Sequence[Reply | str]) -> list[Reply]:
    if not replies:
        raise ValueError("there is no reply: give at least one")
    for reply in replies:
        if not isinstance(reply, Reply | str):
            raise TypeError(
                f"a reply is a str or a Reply, not a {type(reply).__name__}; pass one argument each"
            )
    return [Reply.of(reply) if isinstance(reply, str) else reply for reply in replies]


def _settings(model: str, given: Mapping[str, Any]) -> Settings:
    if "models" in given:
        raise ValueError("settings.models: the engine is scripted; set `model` to name it")
    # The server shares its process with the test, so it is not to refuse calls because the process is busy.
    # A reply that fails is the outcome of its generation, not of its first attempt.
    limits = {"min_generations": _NO_LIMIT, "max_engine_attempts": 1, **given.get("limits", {})}
    try:
        return build({"listen": "127.0.0.1:0", **given, "limits": limits, "models": [{"name": model}]})
    except Problem as problem:
        raise ValueError(f"settings.{problem.path}: {problem.message}") from None


def _log_to_logging() -> None:
    """Sends the server's log to `logging`, where pytest and programs look, unless structlog is configured."""
    if not structlog.is_configured():
        structlog.configure(
            processors=[
                structlog.stdlib.filter_by_level,
                structlog.processors.KeyValueRenderer(key_order=["event"]),
            ],
            wrapper_class=structlog.stdlib.BoundLogger,
            logger_factory=structlog.stdlib.LoggerFactory(),
        )
