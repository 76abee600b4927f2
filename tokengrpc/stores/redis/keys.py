"""Names of keys. Tenants and ids of generations are in them as a hash only."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from tokengrpc.core.model import GenerationKey

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_CHECKS = 1000
"""Keys among which each primary of a cluster has one, by all odds."""


class KeyNames(msgspec.Struct, frozen=True):
    """Names under a prefix. All keys of a generation have one hash tag, and so one slot of a cluster."""

    prefix: str

    def log(self, key: GenerationKey) -> str:
        """Returns the key of a log's hash."""
        return self.log_of(self.hash(key))

    def log_of(self, hashed: str) -> str:
        """Returns the key of a log's hash, for the hash of a generation's key."""
        return f"{self.prefix}:{{{hashed}}}"

    def stream(self, key: GenerationKey, incarnation: str) -> str:
        """Returns the key of a log's records."""
        return f"{self.log(key)}:{incarnation}"

    @property
    def running(self) -> str:
        """The key of the list of running generations."""
        return f"{self.prefix}:running"

    def wake(self, replica: str) -> str:
        """Returns the key of the stream that wakes the blocking read of a replica."""
        return f"{self.prefix}:wake:{replica}"

    def checks(self) -> Iterator[str]:
        """Yields keys that check the store, for all slots of a cluster."""
        return (f"{self.prefix}:check:{number}" for number in range(_CHECKS))

    def cancels(self, replica: str) -> str:
        """Returns the channel of cancels for a replica."""
        return f"{self.prefix}:cancels:{replica}"

    @staticmethod
    def hash(key: GenerationKey) -> str:
        """Returns 32 hexadecimal digits: half of the SHA-256 of tenant and id."""
        named = f"{len(key.tenant)}:{key.tenant}{key.generation_id}"
        return hashlib.sha256(named.encode()).hexdigest()[:32]


def encode_key(key: GenerationKey) -> bytes:
    """Encodes a generation's key, for values and messages."""
    return msgspec.msgpack.encode(tuple(key))


def decode_key(data: bytes) -> GenerationKey:
    """Decodes what `encode_key` made."""
    parts: Sequence[str] = msgspec.msgpack.decode(data, type=tuple[str, str])
    return GenerationKey(*parts)
