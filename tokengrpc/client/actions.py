"""What a Session tells a client to do next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenstreaming.v1 import token_stream_pb2

    from tokengrpc.client.errors import TokenStreamError


@dataclass(frozen=True, slots=True)
class StartCall:
    """Call StreamTokens after a delay."""

    request: token_stream_pb2.StreamTokensRequest
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class ResumeCall:
    """Call ResumeTokens after a delay."""

    request: token_stream_pb2.ResumeTokensRequest
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Finish:
    """The generation ended well; there is nothing more to do."""


@dataclass(frozen=True, slots=True)
class Raise:
    """The reader gets this error."""

    error: TokenStreamError


Action = StartCall | ResumeCall | Finish | Raise
