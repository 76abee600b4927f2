"""What becomes of each fault: one table, by the plan's keys."""

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
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`reasons` are those that callers may be told; `words` say when, or what else they see."""

    words: str
    reasons: tuple[str, ...] = ()


_SILENT = EngineStalled.reason

OUTCOMES = {
    "connect_delay": Outcome(
        "nothing; beyond `connect_timeout` the failure, clock `connect`", (EngineUnavailable.reason,)
    ),
    "accept_delay": Outcome("no message until then; beyond `first_token_timeout` the failure", (_SILENT,)),
    "first_token_delay": Outcome(
        "`started`, then nothing; beyond `first_token_timeout` the failure", (_SILENT,)
    ),
    "pace": Outcome("tokens come at that pace"),
    "jitter": Outcome("tokens come irregularly"),
    "stall_at_token": Outcome("heartbeats; beyond the token timeout the failure", (_SILENT,)),
    "stall_time": Outcome("after it the rest comes, and a good end"),
    "keep_alive": Outcome("nothing: comments are no progress"),
    "refuse": Outcome("the failure, and no event", (EngineUnavailable.reason,)),
    "status": Outcome("the failure of that status, and no event"),
    "retry_after": Outcome("RetryInfo in the failure"),
    "cut_at_token": Outcome("these tokens, then the failure", (EngineLost.reason,)),
    "cut_at_byte": Outcome("the tokens that fit, then the failure", (EngineLost.reason,)),
    "end_at_token": Outcome("these tokens, then the failure", (EngineTruncated.reason,)),
    "abort_at_token": Outcome("these tokens, then the failure", (EngineAborted.reason,)),
    "error_at_token": Outcome("these tokens, then the failure", (EngineAborted.reason,)),
    "malformed_at_token": Outcome("these tokens, then the failure", (EngineProtocolError.reason,)),
    "invalid_utf8_at_token": Outcome("these tokens, then the failure", (EngineProtocolError.reason,)),
    "huge_line_at_token": Outcome("these tokens, then the failure", (EngineProtocolError.reason,)),
    "trickle": Outcome("nothing but more delay"),
    "split_characters": Outcome("whole characters all the same"),
    "unknown_fields": Outcome("nothing"),
    "finish_reason": Outcome(
        "an unknown one is OTHER; `abort` and the like are the failure", (EngineAborted.reason,)
    ),
    "usage": Outcome("without it, a `source` that is not ENGINE"),
}
"""For each fault of `FaultSettings`."""

STATUS_REASONS = {
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
"""For values of `status`; others are as unknown ones of a real server."""
