"""The Python client, for asyncio and for threads. Its streams resume after dropped connections."""

from tokengrpc.client.channel import ONE_REPLICA
from tokengrpc.client.client import TokenStreamClient
from tokengrpc.client.conversation import Conversation
from tokengrpc.client.cursor import Cursor
from tokengrpc.client.errors import (
    ConnectionLostError,
    DeadlineExceededError,
    EngineFailedError,
    GenerationCancelledError,
    GenerationLostError,
    InvalidRequestError,
    NotAllowedError,
    NotFoundError,
    QuotaError,
    ServerFailedError,
    TokenStreamError,
    UnavailableError,
)
from tokengrpc.client.policy import ResumePolicy
from tokengrpc.client.stream import TokenStream
from tokengrpc.client.sync import SyncTokenStreamClient
from tokengrpc.client.sync_stream import SyncTokenStream
from tokengrpc.client.tls import tls_credentials

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
