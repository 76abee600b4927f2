"""Replies of scripts. What others have written at a log's keys can give them any shape."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from tokengrpc.core.ports.log import LogRefused
from tokengrpc.stores.redis.sealing import CHANGED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

T = TypeVar("T")


class Claimed(NamedTuple):
    """Reply of `claim`."""

    decision: bytes
    epoch: int
    owner: bytes
    fingerprint: bytes
    incarnation: bytes


class Described(NamedTuple):
    """Reply of `describe`. The lease is in milliseconds."""

    owner: bytes
    epoch: int
    lease_left: int
    fingerprint: bytes
    incarnation: bytes
    request: bytes
    last: int
    kind: bytes
    cancelled: int
    subscribers: int


class TakenOver(NamedTuple):
    """Reply of `take_over`."""

    status: bytes
    epoch: int
    owner: bytes
    last: int
    incarnation: bytes


class Orphaned(NamedTuple):
    """Reply of `orphan` for a generation that may be taken over."""

    incarnation: bytes
    key: bytes


class Read(NamedTuple):
    """Reply of `read`. Each entry has an id, then names and values of fields."""

    incarnation: bytes
    last: int
    entries: list[tuple[bytes, list[bytes]]]


def shaped(shape: type[T], reply: Any) -> T:  # noqa: ANN401 - scripts return any type
    """Returns a reply in its shape. Raises LogRefused if it has another one."""
    try:
        return msgspec.convert(reply, shape)
    except msgspec.ValidationError:
        raise LogRefused(CHANGED) from None


def text(name: bytes) -> str:
    """Returns a name that a reply has."""
    return name.decode(errors="replace")


async def each(calls: Iterable[Awaitable[T]]) -> list[T | LogRefused]:
    """Returns the replies of calls for several logs. One log that is refused keeps none of the others."""
    replies = await asyncio.gather(*calls, return_exceptions=True)
    for reply in replies:
        if isinstance(reply, BaseException) and not isinstance(reply, LogRefused):
            raise reply
    return replies  # type: ignore[return-value]  # other exceptions were raised
