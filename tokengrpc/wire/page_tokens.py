"""Page tokens of the usage ledger: the last record of a page, bound to the filter of the listing."""

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
    text = f"{record.create_time_ns}/{record.record_id}".encode()
    return base64.urlsafe_b64encode(_digest(query) + text).decode()


def page_start(token: str, query: RecordQuery) -> PageStart:
    """Returns the record after which a page starts. Raises ValueError for a token of another filter, or none.

    A token is no secret: it only names a place in what its caller may read anyway.
    """
    if len(token) > _MAX_LENGTH:
        raise ValueError("too long")
    try:
        data = base64.b64decode(token, b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not in base64") from error
    if data[:_DIGEST_BYTES] != _digest(query):
        raise ValueError("of another filter")
    time, _, record_id = data[_DIGEST_BYTES:].decode().partition("/")
    start = PageStart(int(time), record_id)
    if not (-_INT64 <= start.create_time_ns < _INT64 and record_id.isprintable()):
        raise ValueError("not a place in the ledger")
    return start


def _digest(query: RecordQuery) -> bytes:
    fields = {**structs.asdict(query), "labels": sorted(query.labels.items())}
    return hashlib.blake2b(repr(sorted(fields.items())).encode(), digest_size=_DIGEST_BYTES).digest()
