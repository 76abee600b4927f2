"""The form of keys that the server makes: `tg_PREFIX_SECRET`, where the secret ends with a checksum.

`PREFIX` is 8 random characters that are shown, `SECRET` has 32 random characters and 6 of the checksum, all
of them letters and digits. So programs that look for secrets know a key by its form, without asking the
server, and a mistyped key is recognised as such.

The database has the SHA-256 of a key. A slow hash, as for passwords, would add nothing: 32 random characters
have 190 bits, too many to try, however fast the hash is. And a hash without a salt can be looked up.
"""

from __future__ import annotations

import hashlib
import secrets
import string
import zlib
from typing import TYPE_CHECKING

from tokengrpc.core.ports.tenant_store import ApiKey
from tokengrpc.identity.credentials import DATABASE_KEY_PREFIX

if TYPE_CHECKING:
    from tokengrpc.core.tenant import Scope

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_SHOWN = 8
_SECRET = 32
_CHECKSUM = 6
PREFIX_LENGTH = len(DATABASE_KEY_PREFIX) + _SHOWN
"""Characters at the beginning of a key by which people recognise it."""

_LENGTH = PREFIX_LENGTH + 1 + _SECRET + _CHECKSUM


def new_key() -> str:
    """Returns a new random key."""
    text = f"{DATABASE_KEY_PREFIX}{_random(_SHOWN)}_{_random(_SECRET)}"
    return text + _checksum(text)


def created_key(
    tenant: str,
    scopes: frozenset[Scope],
    now_ns: int,
    *,
    display_name: str = "",
    expire_time_ns: int | None = None,
) -> tuple[ApiKey, str]:
    """Makes a key of a tenant. Returns its description, for the store, and the key itself."""
    key = new_key()
    described = ApiKey(
        id=secrets.token_hex(8),
        tenant=tenant,
        prefix=key[:PREFIX_LENGTH],
        digest=digest_of(key),
        scopes=scopes,
        display_name=display_name,
        create_time_ns=now_ns,
        expire_time_ns=expire_time_ns,
    )
    return described, key


def is_well_formed(key: str) -> bool:
    """Returns whether a text has the length and the checksum of a key."""
    if len(key) != _LENGTH or not key.isascii():
        return False
    return key[-_CHECKSUM:] == _checksum(key[:-_CHECKSUM])


def digest_of(key: str) -> str:
    """Returns what the database has of a key: its SHA-256 in hexadecimal digits."""
    return hashlib.sha256(key.encode()).hexdigest()


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(text: str) -> str:
    """Returns the CRC-32 of a text in base 62."""
    number = zlib.crc32(text.encode())
    digits = ""
    for _ in range(_CHECKSUM):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
