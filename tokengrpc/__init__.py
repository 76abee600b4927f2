"""Token streaming from language models over gRPC.

The public names are the client's: `from tokengrpc import TokenStreamClient`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokengrpc.client import (
        ConnectionLostError,
        Conversation,
        DeadlineExceededError,
        EngineFailedError,
        GenerationCancelledError,
        GenerationLostError,
        InvalidRequestError,
        NotAllowedError,
        NotFoundError,
        QuotaError,
        ResumePolicy,
        ServerFailedError,
        SyncTokenStream,
        SyncTokenStreamClient,
        TokenStream,
        TokenStreamClient,
        TokenStreamError,
        UnavailableError,
    )

__all__ = [
    "ConnectionLostError",
    "Conversation",
    "DeadlineExceededError",
    "EngineFailedError",
    "GenerationCancelledError",
    "GenerationLostError",
    "InvalidRequestError",
    "NotAllowedError",
    "NotFoundError",
    "QuotaError",
    "ResumePolicy",
    "ServerFailedError",
    "SyncTokenStream",
    "SyncTokenStreamClient",
    "TokenStream",
    "TokenStreamClient",
    "TokenStreamError",
    "UnavailableError",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the names above have many types
    # Only when asked for: the server's lower half must not import grpc.
    if name in __all__:
        return getattr(import_module("tokengrpc.client"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
