"""The errors that no server sent: ends that this side finds or decides itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from tokenstreaming.v1 import generation_pb2

from tokengrpc.client.advice import without_advice
from tokengrpc.client.errors import (
    ConnectionLostError,
    DeadlineExceededError,
    GenerationCancelledError,
    GenerationLostError,
    TokenStreamError,
)
from tokengrpc.errors import Advice

if TYPE_CHECKING:
    from tokenstreaming.v1 import token_stream_pb2

    from tokengrpc.client.plan import Plan


def cut_short() -> TokenStreamError:
    """A stream ended with OK but without the generation's end."""
    return ConnectionLostError(
        "the stream ended without the generation's end", code=grpc.StatusCode.UNAVAILABLE
    )


def connection_lost(failure: TokenStreamError, attempts: int, *, resumable: bool) -> TokenStreamError:
    """A connection broke, and so did as many attempts to resume."""
    tried = f" and {attempts} attempts to resume failed" if attempts else ""
    return ConnectionLostError(
        f"the connection broke{tried} ({failure.message})",
        code=failure.code,
        reason="CONNECTION_LOST",
        advice=Advice.RESUME if resumable else Advice.RETRY,
    )


def generation_lost(failure: TokenStreamError) -> TokenStreamError:
    """After a broken connection the server no longer has what follows."""
    return GenerationLostError(
        f"the connection broke and the rest is gone ({without_advice(failure.message)})",
        code=failure.code,
        reason="GENERATION_LOST",
        advice=Advice.RETRY,
        ended=failure.ended,
    )


def too_late(failure: TokenStreamError) -> TokenStreamError:
    """After a broken connection there is no time for another attempt."""
    return DeadlineExceededError(
        f"the deadline came while reconnecting ({without_advice(failure.message)}): allow more time",
        code=grpc.StatusCode.DEADLINE_EXCEEDED,
        reason="DEADLINE_EXCEEDED",
    )


def closed_while_read() -> TokenStreamError:
    """A stream was closed, by somebody else on this side, while it was read."""
    return GenerationCancelledError(
        "the stream was closed while it was read", code=grpc.StatusCode.CANCELLED, reason="CANCELLED"
    )


def time_limit_error(plan: Plan, finish: generation_pb2.Finished) -> TokenStreamError | None:
    """The error of a generation that ended at the time limit which stands for its caller's timeout."""
    limited = finish.finish_reason == generation_pb2.FINISH_REASON_TIME_LIMIT
    if not (limited and plan.fails_at_time_limit):
        return None
    return DeadlineExceededError(
        f"the timeout of {plan.timeout:g} s came before the end",
        code=grpc.StatusCode.DEADLINE_EXCEEDED,
        reason="DEADLINE_EXCEEDED",
        advice=Advice.RETRY,
        ended=True,
        generation_id=plan.generation_id,
    )


def check_answer(plan: Plan, answer: token_stream_pb2.GenerateTextResponse) -> None:
    """Raises what a whole answer's end means for its caller, if it is an error."""
    late = time_limit_error(plan, answer.generation.finished)
    if late is not None:
        late.usage = answer.generation.usage
        late.last_sequence = answer.generation.last_sequence
        late.partial_text = answer.text
        raise late
