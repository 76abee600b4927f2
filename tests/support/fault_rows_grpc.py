"""The faults of vLLM's gRPC service: its part in the rows of HTTP engines, and rows of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
from smg_vllm import vllm_engine_pb2 as pb

from tests.support import fault_rows_harmless
from tests.support.fault_rows import LONG, SHORT_FIRST, Fault
from tests.support.script_steps import Stall
from tests.support.scripted_vllm import ids_of
from tests.support.vllm_steps import (
    Accept,
    CutConnection,
    End,
    Fail,
    Forever,
    Ids,
    Message,
    Raw,
    Say,
    UnknownFields,
    WhenStarted,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.support.fault_steps import CaughtUp

    GrpcSteps = Callable[[CaughtUp], Sequence[Any]]

NAME = "gRPC"
"""The name of the column."""

TEXT = Say("Once", " upon", " a", " 🦜")
TURTLE = ids_of(" 🐢")
NO_TOKENS = Ids()
GARBAGE = b"\x0a\xff\xff\xff\xff"
HUGE = pb.GenerateResponse(chunk=pb.GenerateStreamChunk(token_ids=[300] * 600_000))
OTHER_ANSWER = pb.GenerateResponse(chunk=pb.GenerateStreamChunk(token_ids=[1], index=1))
_CODE = grpc.StatusCode


def _fails(code: grpc.StatusCode, message: str = "no", retry_after: float | None = None) -> GrpcSteps:
    return lambda _: (Fail(code, message, retry_after=retry_after),)


def _fails_after_text(code: grpc.StatusCode, message: str = "no") -> GrpcSteps:
    return lambda _: (TEXT, Fail(code, message))


STEPS: dict[str, dict[str, GrpcSteps]] = {
    "Before the headers": {
        "connection refused": lambda _: (),
        "connection never accepted": lambda _: (),
        "connection reset": lambda _: (CutConnection(),),
        "connection closed": lambda _: (CutConnection(regularly=True),),
        "silence": lambda _: (Stall(),),
    },
    "After the headers, before the first token": {
        "connection reset": lambda caught_up: (Accept(), WhenStarted(caught_up), CutConnection()),
        "connection closed": lambda caught_up: (
            Accept(),
            WhenStarted(caught_up),
            CutConnection(regularly=True),
        ),
        "empty body": lambda _: (Accept(),),
        "silence": lambda _: (Accept(), Stall()),
        "empty events only": lambda _: (Forever(NO_TOKENS),),
        "finish reason abort, then the end mark": lambda _: (NO_TOKENS, End("abort")),
        "finish reason that means a failure": lambda _: (NO_TOKENS, End("network_error")),
    },
    "After tokens": {
        "connection reset": lambda caught_up: (TEXT, caught_up, CutConnection()),
        "connection closed": lambda caught_up: (TEXT, caught_up, CutConnection(regularly=True)),
        "body ends without the end mark": lambda _: (TEXT,),
        "silence": lambda _: (TEXT, Stall()),
        "empty events only": lambda _: (TEXT, Forever(NO_TOKENS)),
        "finish reason abort, then the end mark": lambda _: (TEXT, End("abort")),
        "finish reason that means a failure": lambda _: (TEXT, End("network_error")),
        "finish reason abort between the tokens of a character": lambda _: (
            TEXT,
            Ids(*TURTLE[:-1]),
            End("abort"),
        ),
    },
    "After the finish reason": {
        "silence": lambda _: (TEXT, End(), Stall()),
        "finish reason abort as a second one": lambda _: (TEXT, End(), End("abort")),
    },
    "Unusual but valid": {
        "character split across two tokens": lambda _: (TEXT, Ids(*TURTLE[:-1]), Ids(TURTLE[-1]), End()),
        "unknown fields in every event": lambda _: (UnknownFields(), TEXT, End()),
        "unknown finish reason": lambda _: (TEXT, End("bored")),
        "finish reason that means a filter": lambda _: (TEXT, End("sensitive")),
    },
}
"""The service's part in rows that HTTP engines have as well."""

BEFORE_THE_HEADERS: dict[str, Fault] = {
    "status CANCELLED": Fault(grpc=_fails(_CODE.CANCELLED), reason="ENGINE_UNAVAILABLE"),
    "status UNKNOWN": Fault(grpc=_fails(_CODE.UNKNOWN), reason="ENGINE_UNAVAILABLE"),
    "status INVALID_ARGUMENT": Fault(grpc=_fails(_CODE.INVALID_ARGUMENT), reason="INVALID_REQUEST"),
    "status INVALID_ARGUMENT, context length exceeded": Fault(
        grpc=_fails(_CODE.INVALID_ARGUMENT, LONG), reason="CONTEXT_LENGTH_EXCEEDED"
    ),
    "status DEADLINE_EXCEEDED": Fault(grpc=_fails(_CODE.DEADLINE_EXCEEDED), reason="ENGINE_UNAVAILABLE"),
    "status NOT_FOUND": Fault(grpc=_fails(_CODE.NOT_FOUND), reason="MODEL_NOT_FOUND"),
    "status ALREADY_EXISTS": Fault(grpc=_fails(_CODE.ALREADY_EXISTS), reason="ENGINE_UNAVAILABLE"),
    "status PERMISSION_DENIED": Fault(grpc=_fails(_CODE.PERMISSION_DENIED), reason="ENGINE_AUTH_FAILED"),
    "status UNAUTHENTICATED": Fault(grpc=_fails(_CODE.UNAUTHENTICATED), reason="ENGINE_AUTH_FAILED"),
    "status RESOURCE_EXHAUSTED with RetryInfo": Fault(
        grpc=_fails(_CODE.RESOURCE_EXHAUSTED, "full", 7.0), reason="ENGINE_UNAVAILABLE", retry_after=7.0
    ),
    "status FAILED_PRECONDITION": Fault(grpc=_fails(_CODE.FAILED_PRECONDITION), reason="INVALID_REQUEST"),
    "status ABORTED": Fault(grpc=_fails(_CODE.ABORTED), reason="ENGINE_UNAVAILABLE"),
    "status OUT_OF_RANGE": Fault(grpc=_fails(_CODE.OUT_OF_RANGE), reason="INVALID_REQUEST"),
    "status UNIMPLEMENTED": Fault(grpc=_fails(_CODE.UNIMPLEMENTED), reason="ENGINE_PROTOCOL_ERROR"),
    "status INTERNAL": Fault(grpc=_fails(_CODE.INTERNAL, "CUDA out of memory"), reason="ENGINE_UNAVAILABLE"),
    "status UNAVAILABLE": Fault(grpc=_fails(_CODE.UNAVAILABLE), reason="ENGINE_UNAVAILABLE"),
    "status DATA_LOSS": Fault(grpc=_fails(_CODE.DATA_LOSS), reason="ENGINE_UNAVAILABLE"),
}

BEFORE_THE_FIRST_TOKEN: dict[str, Fault] = {
    "status INTERNAL": Fault(
        grpc=lambda caught_up: (Accept(), WhenStarted(caught_up), Fail(_CODE.INTERNAL)),
        reason="ENGINE_UNAVAILABLE",
    ),
    "status UNAVAILABLE": Fault(
        grpc=lambda caught_up: (Accept(), WhenStarted(caught_up), Fail(_CODE.UNAVAILABLE)),
        reason="ENGINE_LOST",
    ),
    "message that cannot be decoded": Fault(
        grpc=lambda _: (Raw(GARBAGE), Stall()), reason="ENGINE_PROTOCOL_ERROR"
    ),
    "message of more than 1 MiB": Fault(
        grpc=lambda _: (Message(HUGE), Stall()), reason="ENGINE_PROTOCOL_ERROR"
    ),
    "messages of other answers only": Fault(
        grpc=lambda _: (Forever(Message(OTHER_ANSWER)),),
        reason="ENGINE_STALLED",
        clock="first_token",
        request=SHORT_FIRST,
    ),
    "`complete` without a finish reason": Fault(
        grpc=lambda _: (NO_TOKENS, End("")), reason="ENGINE_TRUNCATED"
    ),
}

AFTER_TOKENS: dict[str, Fault] = {
    "status CANCELLED": Fault(grpc=_fails_after_text(_CODE.CANCELLED), reason="ENGINE_ABORTED"),
    "status INVALID_ARGUMENT": Fault(grpc=_fails_after_text(_CODE.INVALID_ARGUMENT), reason="ENGINE_ABORTED"),
    "status RESOURCE_EXHAUSTED": Fault(
        grpc=_fails_after_text(_CODE.RESOURCE_EXHAUSTED), reason="ENGINE_ABORTED"
    ),
    "status INTERNAL": Fault(grpc=_fails_after_text(_CODE.INTERNAL), reason="ENGINE_ABORTED"),
    "status UNAVAILABLE": Fault(grpc=_fails_after_text(_CODE.UNAVAILABLE), reason="ENGINE_LOST"),
    "status UNIMPLEMENTED": Fault(
        grpc=_fails_after_text(_CODE.UNIMPLEMENTED), reason="ENGINE_PROTOCOL_ERROR"
    ),
    "status INVALID_ARGUMENT, context length exceeded": Fault(
        grpc=_fails_after_text(_CODE.INVALID_ARGUMENT, LONG), reason="CONTEXT_LENGTH_EXCEEDED"
    ),
    "message that cannot be decoded": Fault(
        grpc=lambda _: (TEXT, Raw(GARBAGE), Stall()), reason="ENGINE_PROTOCOL_ERROR"
    ),
    "message of more than 1 MiB": Fault(
        grpc=lambda _: (TEXT, Message(HUGE), Stall()), reason="ENGINE_PROTOCOL_ERROR"
    ),
    "`complete` without a finish reason": Fault(grpc=lambda _: (TEXT, End("")), reason="ENGINE_TRUNCATED"),
}

HARMLESS: dict[str, Fault] = {
    "status INTERNAL after `complete`": Fault(grpc=lambda _: (TEXT, End(), Fail(_CODE.INTERNAL))),
    "message that cannot be decoded after `complete`": Fault(grpc=lambda _: (TEXT, End(), Raw(GARBAGE))),
    "other answers between the chunks": Fault(
        grpc=lambda _: (Message(OTHER_ANSWER), TEXT, Message(OTHER_ANSWER), End())
    ),
    "tokens without text": Fault(grpc=lambda _: (TEXT, Ids(5000, 1), End())),
    "finish reason length": Fault(grpc=lambda _: (TEXT, End("length")), finish="MAX_TOKENS"),
}


def _with_grpc(section: str, faults: dict[str, Fault]) -> dict[str, Fault]:
    steps = STEPS.get(section, {})
    assert steps.keys() <= faults.keys(), "a row is named differently"
    return {name: replace(fault, grpc=steps.get(name)) for name, fault in faults.items()}


SECTIONS: dict[str, dict[str, Fault]] = {
    **{section: _with_grpc(section, faults) for section, faults in fault_rows_harmless.SECTIONS.items()},
    "gRPC: before the headers": BEFORE_THE_HEADERS,
    "gRPC: after the headers, before the first token": BEFORE_THE_FIRST_TOKEN,
    "gRPC: after tokens": AFTER_TOKENS,
    "gRPC: after the finish reason, and unusual but valid": HARMLESS,
}
