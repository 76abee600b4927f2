"""Page tokens: the last item of a page, bound to the filter of the listing.

A token is no secret: it only names a place in what its caller may read anyway.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING

from msgspec import structs

from tokengrpc.core.ports.usage_reader import PageStart

if TYPE_CHECKING:
    from tokengrpc.core.ports.ledger import UsageRecord
    from tokengrpc.core.ports.usage_reader import RecordQuery

_DIGEST_BYTES = 8
_MAX_LENGTH = 512
_INT64 = 2**63


def page_token(record: UsageRecord, query: RecordQuery) -> str:
    """Returns the token of the page after a record."""
    return token_of(f"{record.create_time_ns}/{record.record_id}", _fields(query))


def page_start(token: str, query: RecordQuery) -> PageStart:
    """Returns the record after which a page starts. Raises ValueError, see `place_of`."""
    return PageStart(*timed_place(token, _fields(query)))


def token_of(place: str, listing: object) -> str:
    """Returns the token of the page after a place. `listing` has a repr that tells listings apart."""
    return base64.urlsafe_b64encode(_digest(listing) + place.encode()).decode()


def place_of(token: str, listing: object) -> str:
    """Returns the place of a token. Raises ValueError for a token of another listing, or none."""
    if len(token) > _MAX_LENGTH:
        raise ValueError("too long")
    try:
        data = base64.b64decode(token, b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not in base64") from error
    if data[:_DIGEST_BYTES] != _digest(listing):
        raise ValueError("of another filter")
    return data[_DIGEST_BYTES:].decode()


def timed_place(token: str, listing: object) -> tuple[int, str]:
    """Returns the time and the id that are the place of a token. Raises ValueError, see `place_of`."""
    time, _, id_ = place_of(token, listing).partition("/")
    if not (-_INT64 <= int(time) < _INT64 and id_.isprintable()):
        raise ValueError("not a time and an id")
    return int(time), id_


def _fields(query: RecordQuery) -> object:
    return sorted({**structs.asdict(query), "labels": sorted(query.labels.items())}.items())


def _digest(listing: object) -> bytes:
    return hashlib.blake2b(repr(listing).encode(), digest_size=_DIGEST_BYTES).digest()
