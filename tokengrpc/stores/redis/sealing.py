"""Encryption of what the store keeps: requests, and the bodies of records."""

from __future__ import annotations

import base64
import hashlib
import os
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from tokengrpc.core.ports.log import LogRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE, _ID = 12, 4
_SEALED = b"\x01"
_PLAIN = b"\x00"
CHANGED = "the event log was written by others, or by a server that this one does not understand: start again"
"""What is said of a log that cannot be read."""


class Sealer(Protocol):
    """Encrypts and decrypts values of a log. `place` says where a value belongs: elsewhere it is refused."""

    def seal(self, incarnation: str, place: bytes, value: bytes) -> bytes:
        """Returns the value as it is stored."""

    def open(self, incarnation: str, place: bytes, stored: bytes) -> bytes:
        """Returns the value. Raises LogRefused if it cannot be decrypted, or is not genuine."""


class Unsealed:
    """Stores values as they are."""

    def seal(self, incarnation: str, place: bytes, value: bytes) -> bytes:  # noqa: ARG002 - see Sealer
        """See `Sealer`."""
        return _PLAIN + value

    def open(self, incarnation: str, place: bytes, stored: bytes) -> bytes:  # noqa: ARG002 - see Sealer
        """See `Sealer`."""
        if stored[:1] == _SEALED:
            raise LogRefused("the event log is encrypted, and this server has no key for it")
        if stored[:1] != _PLAIN:
            raise LogRefused(CHANGED)
        return stored[1:]


class Sealed:
    """AES-256-GCM with a key per log, derived from the operator's. The first key encrypts, all decrypt."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = {hashlib.sha256(b"tokengrpc key id" + key).digest()[:_ID]: key for key in keys}
        self._current = next(iter(self._keys))
        self._cipher = lru_cache(maxsize=4096)(self._derive)

    def seal(self, incarnation: str, place: bytes, value: bytes) -> bytes:
        """See `Sealer`."""
        nonce = os.urandom(_NONCE)
        sealed = self._cipher(self._current, incarnation).encrypt(nonce, value, place)
        return b"".join((_SEALED, self._current, nonce, sealed))

    def open(self, incarnation: str, place: bytes, stored: bytes) -> bytes:
        """See `Sealer`."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - of an extra

        key, end = stored[1 : 1 + _ID], 1 + _ID + _NONCE
        if stored[:1] != _SEALED or key not in self._keys:
            raise LogRefused("the event log is not encrypted with a key that this server has")
        try:
            return self._cipher(key, incarnation).decrypt(stored[1 + _ID : end], stored[end:], place)
        except InvalidTag:
            raise LogRefused("the event log was changed by others: a record is not genuine") from None

    def _derive(self, key: bytes, incarnation: str) -> AESGCM:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - of an extra
        from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 - of an extra
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415 - of an extra

        derived = HKDF(SHA256(), 32, salt=incarnation.encode(), info=b"tokengrpc event log")
        return AESGCM(derived.derive(self._keys[key]))


def read_key(text: str) -> bytes:
    """Returns the key in a file's text: 32 bytes in base64. Raises ValueError."""
    key = base64.b64decode(text.strip(), validate=True)
    if len(key) != 32:
        raise ValueError(f"{len(key)} bytes")
    return key
