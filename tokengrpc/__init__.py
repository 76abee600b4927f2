"""Token streaming from language models over gRPC.

The package exports the names of the Python client: `from tokengrpc import TokenStreamClient`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokengrpc.client import (
        ONE_REPLICA,
        ConnectionLostError,
        Conversation,
        Cursor,
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
        tls_credentials,
    )

    __version__: str

__all__ = [
    "ONE_REPLICA",
    "ConnectionLostError",
    "Conversation",
    "Cursor",
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
    "tls_credentials",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the names above have many types
    # Imported on first use, because the server's lower layers must not import grpc.
    if name == "__version__":
        return import_module("importlib.metadata").version("tokengrpc")
    if name in __all__:
        return getattr(import_module("tokengrpc.client"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
