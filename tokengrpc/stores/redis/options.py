"""Settings of the store: the table `[plugins.redis]`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from tokengrpc.config import ConfigError
from tokengrpc.config.messages import Problem, convert
from tokengrpc.config.values import PATTERNS
from tokengrpc.stores.redis.sealing import Sealed, Sealer, Unsealed, read_key

if TYPE_CHECKING:
    from collections.abc import Mapping

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
_PREFIX = r"^[A-Za-z0-9_.:-]{1,64}\Z"
PATTERNS[_PREFIX] = "1 to 64 characters of A-Z a-z 0-9 _ . : -"


class RedisOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the store. Times are in seconds."""

    durability: Literal["replicated", "fsynced"] = "replicated"
    replicas: Annotated[int, Meta(ge=1, le=16)] = 1
    group_delay: Annotated[float, Meta(ge=0, le=1)] = 0.002
    lease: Annotated[float, Meta(ge=0.1, le=3600)] = 2.0
    unowned_ttl: Seconds = 3600.0
    poll_interval: Annotated[float, Meta(ge=0.001, le=1)] = 0.02
    prefix: Annotated[str, Meta(pattern=_PREFIX)] = "tokengrpc"
    user: str = ""
    password_file: str = ""
    sentinel_user: str = ""
    sentinel_password_file: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    encryption_key_files: tuple[str, ...] = ()

    @property
    def acknowledgements(self) -> int:
        """Number of replicas that acknowledge an append."""
        return self.replicas if self.durability == "replicated" else 0


def read_options(options: Mapping[str, Any]) -> RedisOptions:
    """Checks settings. Raises ConfigError."""
    try:
        read = convert(options, RedisOptions)
    except Problem as problem:
        raise ConfigError(f"plugins.redis.{problem}") from None
    if bool(read.cert_file) != bool(read.key_file):
        raise ConfigError("plugins.redis: cert_file and key_file belong together: set both, or none")
    return read


def read_secret(setting: str, path: str) -> str:
    """Returns a file's text without the whitespace around it; empty without a path. Raises ConfigError."""
    try:
        return Path(path).read_text().strip() if path else ""
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not text"
        raise ConfigError(f"plugins.redis.{setting}: {path}: {why}") from None


def read_sealer(options: RedisOptions) -> Sealer:
    """Reads the keys of encryption. Raises ConfigError."""
    keys: list[bytes] = []
    for path in options.encryption_key_files:
        text = read_secret("encryption_key_files", path)
        try:
            keys.append(read_key(text))
        except ValueError:
            raise ConfigError(
                f"plugins.redis.encryption_key_files: {path}: needs 32 bytes in base64, as of"
                " `openssl rand -base64 32`"
            ) from None
    return Sealed(keys) if keys else Unsealed()
