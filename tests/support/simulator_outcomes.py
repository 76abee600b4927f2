"""The outcome of each fault, by the plan's keys: one table."""

from __future__ import annotations

from dataclasses import dataclass

from tokengrpc.errors import (
    EngineAborted,
    EngineAuthFailed,
    EngineLost,
    EngineProtocolError,
    EngineStalled,
    EngineTruncated,
    EngineUnavailable,
    InvalidRequest,
    ModelNotFound,
    Reason,
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a fault: `words` describe what the caller sees, `reasons` are the possible failures."""

    words: str
    reasons: tuple[Reason, ...] = ()


_STALLED = EngineStalled.reason

OUTCOMES = {
    "connect_delay": Outcome(
        "nothing; after `connect_timeout` the failure, clock `connect`", (EngineUnavailable.reason,)
    ),
    "accept_delay": Outcome("no message; after `first_token_timeout` the failure", (_STALLED,)),
    "first_token_delay": Outcome(
        "`started`, then nothing; after `first_token_timeout` the failure", (_STALLED,)
    ),
    "pace": Outcome("tokens arrive at that pace"),
    "jitter": Outcome("tokens arrive irregularly"),
    "stall_at_token": Outcome("heartbeats; after the token timeout the failure", (_STALLED,)),
    "stall_time": Outcome("the remaining tokens after it, and a regular end"),
    "keep_alive": Outcome("nothing: comments do not count as progress"),
    "refuse": Outcome("the failure, and no event", (EngineUnavailable.reason,)),
    "status": Outcome("the failure for that status, and no event"),
    "retry_after": Outcome("RetryInfo in the failure"),
    "cut_at_token": Outcome("these tokens, then the failure", (EngineLost.reason,)),
    "cut_at_byte": Outcome("the tokens that fit, then the failure", (EngineLost.reason,)),
    "end_at_token": Outcome("these tokens, then the failure", (EngineTruncated.reason,)),
    "abort_at_token": Outcome("these tokens, then the failure", (EngineAborted.reason,)),
    "error_at_token": Outcome("these tokens, then the failure", (EngineAborted.reason,)),
    "malformed_at_token": Outcome("these tokens, then the failure", (EngineProtocolError.reason,)),
    "invalid_utf8_at_token": Outcome("these tokens, then the failure", (EngineProtocolError.reason,)),
    "huge_line_at_token": Outcome("these tokens, then the failure", (EngineProtocolError.reason,)),
    "trickle": Outcome("nothing but additional delay"),
    "split_characters": Outcome("nothing: characters are complete"),
    "unknown_fields": Outcome("nothing"),
    "finish_reason": Outcome(
        "an unknown reason is OTHER; `abort` and its synonyms are the failure", (EngineAborted.reason,)
    ),
    "usage": Outcome("if it is not reported, a `source` other than ENGINE"),
}
"""By the faults of `FaultSettings`."""

STATUS_REASONS: dict[int, Reason] = {
    302: EngineProtocolError.reason,
    400: InvalidRequest.reason,
    401: EngineAuthFailed.reason,
    403: EngineAuthFailed.reason,
    404: ModelNotFound.reason,
    408: EngineUnavailable.reason,
    413: InvalidRequest.reason,
    418: EngineProtocolError.reason,
    422: InvalidRequest.reason,
    429: EngineUnavailable.reason,
    500: EngineUnavailable.reason,
    502: EngineUnavailable.reason,
    503: EngineUnavailable.reason,
    504: EngineUnavailable.reason,
    529: EngineUnavailable.reason,
}
"""By the values of `status`. Other values are mapped like unknown statuses of a real server."""
