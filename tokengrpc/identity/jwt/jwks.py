"""The current keys of an issuer: fetched, renewed, and kept for a while when they cannot be fetched."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import structlog

from tokengrpc.config import ConfigError
from tokengrpc.core.ports.observer import StoreStateChanged
from tokengrpc.errors import StoreUnavailable
from tokengrpc.identity.jwt.verification_keys import MAX_BYTES, VerificationKeys

if TYPE_CHECKING:
    from collections.abc import Callable

    from joserfc.jwk import Key

    from tokengrpc.core.ports.observer import ObserverEvent
    from tokengrpc.identity.jwt.settings import JwtSettings

_EARLY = 0.8
"""Share of the interval after which keys are fetched while calls go on, so that calls seldom wait for it."""

log = structlog.get_logger(__name__)


class KeysNotRead(Exception):
    """JWKS that cannot be read. The message is a phrase that says why."""


class IssuerKeys:
    """Keys of an issuer, from a URL or a file.

    They are fetched again before they are `refresh_interval` old, and when a token names an unknown key, but
    never twice within `min_refresh_interval`, whatever callers send. While that fails, they are used until
    they are `keep_time` old. After that nobody is let in.
    """

    def __init__(self, settings: JwtSettings, now: Callable[[], float] = time.monotonic) -> None:
        """Takes the settings, and a clock in seconds. Raises ConfigError if `ca_file` cannot be used."""
        self._settings = settings
        self._now = now
        self._tls = _context(settings.ca_file) if settings.ca_file else True
        self._keys = VerificationKeys([])
        self._fetched = self._tried = float("-inf")
        self._failure = ""
        self._task: asyncio.Task[None] | None = None
        self._emit: Callable[[ObserverEvent], None] = lambda _event: None

    def report_to(self, emit: Callable[[ObserverEvent], None]) -> None:
        """Takes what is called when a fetch fails, or succeeds again. See `ReportsStores`."""
        self._emit = emit

    async def start(self) -> None:
        """Fetches the keys. Raises ConfigError if a file cannot be read; a URL may become available later."""
        await self._refresh()
        if self._failure and not self._settings.is_url:
            raise ConfigError(f"plugins.jwt.jwks: {self._settings.jwks} cannot be used: {self._failure}")

    async def close(self) -> None:
        """Stops a running fetch."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def find(self, kid: str | None, algorithm: str) -> Key | None:
        """Returns the key that a token names; None if the issuer has none.

        Raises StoreUnavailable while that cannot be known, because the keys could not be fetched.
        """
        await self._renew()
        key = self._keys.find(kid, algorithm)
        if key is None:
            await self._refresh()
            key = self._keys.find(kid, algorithm)
            if key is None and self._failure:
                raise self._unavailable()
        return key

    async def _renew(self) -> None:
        """Fetches the keys if they are old. Raises StoreUnavailable if they are too old to be used."""
        age, interval, keep_time = self._age, self._settings.refresh_interval, self._settings.keep_time
        if age < interval * _EARLY:
            return
        if age < interval or (self._failure and age < keep_time):
            self._begin_refresh()  # while the issuer hangs, callers do not wait for it again and again
            return
        await self._refresh()
        if self._age >= keep_time:
            raise self._unavailable()

    @property
    def _age(self) -> float:
        return self._now() - self._fetched

    def _unavailable(self) -> StoreUnavailable:
        left = self._tried + self._settings.min_refresh_interval - self._now()
        return StoreUnavailable(
            "the keys of the issuer of tokens cannot be fetched: try again later", retry_after=max(0.1, left)
        )

    async def _refresh(self) -> None:
        """Fetches the keys, or waits for the fetch that is running. A caller that leaves does not stop it."""
        self._begin_refresh()
        if self._task is not None:
            await asyncio.shield(self._task)

    def _begin_refresh(self) -> None:
        if self._task is None and self._now() - self._tried >= self._settings.min_refresh_interval:
            self._tried = self._now()
            self._task = asyncio.create_task(self._fetch())
            self._task.add_done_callback(self._ended)

    def _ended(self, _task: asyncio.Task[None]) -> None:
        self._task = None

    async def _fetch(self) -> None:
        began, before = self._now(), self._failure
        try:
            async with asyncio.timeout(self._settings.fetch_timeout):
                self._keys = VerificationKeys.parse(await self._read())
        except TimeoutError:
            self._failure = f"no answer within {self._settings.fetch_timeout:g} s"
        except (aiohttp.ClientError, OSError, KeysNotRead, ValueError) as error:
            self._failure = _cause(error)
        else:
            self._fetched, self._failure = began, ""
        source = self._settings.jwks
        if self._failure:
            log.warning("the keys of the issuer cannot be fetched", jwks=source, cause=self._failure)
        elif before:
            log.info("the keys of the issuer were fetched again", jwks=source)
        if bool(self._failure) is not bool(before):
            self._emit(StoreStateChanged(store="issuer", available=not self._failure))

    async def _read(self) -> bytes:
        if self._settings.is_url:
            return await _fetched(self._settings.jwks, self._tls)
        return await asyncio.to_thread(_file, Path(self._settings.jwks))


async def _fetched(url: str, tls: ssl.SSLContext | bool) -> bytes:
    # A session for one request, because minutes pass until the next one.
    async with (
        aiohttp.ClientSession(trust_env=True) as session,
        session.get(url, ssl=tls, allow_redirects=False, headers={"Accept": "application/json"}) as response,
    ):
        if response.status != 200:
            raise KeysNotRead(f"status {response.status}")
        text = b""
        async for part in response.content.iter_any():
            text += part
            if len(text) > MAX_BYTES:
                raise KeysNotRead(f"it has more than {MAX_BYTES} bytes")
        return text


def _file(path: Path) -> bytes:
    with path.open("rb") as file:
        text = file.read(MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise KeysNotRead(f"it has more than {MAX_BYTES} bytes")
    return text


def _context(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"plugins.jwt.ca_file: {ca_file} cannot be used: {_cause(error)}") from None


def _cause(error: Exception) -> str:
    """Returns what is wrong in a few words, without addresses."""
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return str(error) if isinstance(error, KeysNotRead | ValueError) else type(error).__name__
