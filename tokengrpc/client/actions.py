"""Actions: the next steps that a `Session` returns to the client that drives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenstreaming.v1 import token_stream_pb2

    from tokengrpc.client.errors import TokenStreamError


@dataclass(frozen=True, slots=True)
class StartCall:
    """Instruction to call StreamTokens after `delay` seconds."""

    request: token_stream_pb2.StreamTokensRequest
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class ResumeCall:
    """Instruction to call ResumeTokens after `delay` seconds."""

    request: token_stream_pb2.ResumeTokensRequest
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Finish:
    """Instruction to end the stream normally, because the generation ended without an error."""


@dataclass(frozen=True, slots=True)
class Raise:
    """Instruction to raise `error` to the caller."""

    error: TokenStreamError


Action = StartCall | ResumeCall | Finish | Raise
