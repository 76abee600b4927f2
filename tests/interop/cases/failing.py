"""Cases 3: rejections and failures with each advice, a drain, a server newer than the client."""

from __future__ import annotations

from base64 import b64encode

import grpc
from tokenstreaming.v1 import generation_pb2 as gen
from tokenstreaming.v1 import usage_pb2
from tokenstreaming.v1.generation_pb2 import ToolCallFragment as Fragment
from tokenstreaming.v1.token_stream_pb2 import StreamTokensResponse as Message

from tests.interop.acts import DETACH, Drain, Ended, InCall, OthersLeave, Reading, Replaced, Stalls
from tests.interop.cases.breaking import engine_was_left
from tests.interop.cases.reading import END, TOLD, WORDS
from tests.interop.crafted_server import NEW_FIELD, Reply, failure, field, newer
from tests.interop.expectations import ANYTHING, NOTHING, AtLeast, OneOf, error, notices, usage
from tests.interop.stage import Case, Report, Stage
from tests.support.scripted_engine import Drop, Reset, Status, Text

UNKNOWN = 77


def id_is_free(stage: Stage, report: Report) -> None:
    """Asserts that the rejected start left no generation: the only one has the client's id."""
    (task,) = stage.served.tasks
    assert task.key.generation_id == "mine"


def asked_once(stage: Stage, report: Report) -> None:
    """Asserts that the crafted server received one call."""
    assert len(stage.crafted.calls) == 1


def cancelled_after_error(stage: Stage, report: Report) -> None:
    """Asserts that the client cancelled the generation that it can no longer read."""
    assert stage.crafted.cancelled == [stage.crafted.calls[0].generation_id]


def resumed_after_three(stage: Stage, report: Report) -> None:
    """Asserts that the second call was ResumeTokens after the client's own cursor."""
    assert stage.crafted.calls[1].after_sequence == 3
    assert stage.crafted.calls[1].generation_id == stage.crafted.calls[0].generation_id


def retried_then_resumed(stage: Stage, report: Report) -> None:
    """Asserts two starts under one id, then two calls of ResumeTokens after the last event."""
    cursors = [getattr(call, "after_sequence", None) for call in stage.crafted.calls]
    assert cursors == [None, None, 2, 2]
    assert len({call.generation_id for call in stage.crafted.calls}) == 1


def said(sequence: int, index: int, *texts: str) -> Message:
    """Returns an event, or several joined ones, of one token each."""
    tokens = [gen.Token(index=index + i, count=1, text=text) for i, text in enumerate(texts)]
    return Message(sequence=sequence, tokens=tokens, usage=counted(index + len(tokens)))


def fragments(sequence: int, *sent: Fragment) -> Message:
    """Returns an event, or several joined ones, of fragments of tool calls."""
    return Message(sequence=sequence, tool_call_fragments=sent, usage=counted(sequence))


def counted(output: int) -> usage_pb2.Usage:
    return usage_pb2.Usage(
        input_token_count=7, output_token_count=output, source=usage_pb2.USAGE_SOURCE_ENGINE
    )


def started(incarnation: str = "") -> Message:
    begun = gen.Started(generation_id="crafted", model="m", log_incarnation=incarnation)
    return Message(sequence=1, usage=counted(0), started=begun)


def ended(sequence: int, output: int, reason: int = gen.FINISH_REASON_END) -> Message:
    finished = gen.Finished()
    finished.MergeFromString(bytes([0x08, reason]))  # the numbers of newer versions are not the stub's
    return Message(sequence=sequence, usage=counted(output), finished=finished)


FUTURE = (
    newer(started()),
    # A token with a field and an enum number that nobody knows, in a message with a field that nobody knows.
    newer(Message(sequence=2, usage=usage_pb2.Usage(output_token_count=1, source=UNKNOWN)))
    + field(2, newer(gen.Token(count=1, text="One"))),
    # An event of a kind that nobody knows: it counts as processed.
    newer(Message(sequence=3, usage=counted(1))) + field(NEW_FIELD, b"\x0a\x03new"),
    newer(Message(sequence=3, usage=counted(1), heartbeat=gen.Heartbeat(state=UNKNOWN))),
    said(4, 1, " two"),
    newer(ended(5, 2, UNKNOWN)),
)

NO_STORE = failure(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", gen.RETRY_ADVICE_RETRY, retry_delay=0.01)
REST = Reply((said(3, 1, " two"), ended(4, 2)))

OPAQUE = bytes(range(0, 256, 5))
CALLED = (
    fragments(2, Fragment(call_index=0, id="c1", function_name="look", arguments_fragment="{")),
    fragments(
        3,
        Fragment(call_index=1, id="c2", function_name="find", arguments_fragment="{}"),
        Fragment(call_index=0, arguments_fragment="}"),
        Fragment(call_index=0, opaque=OPAQUE),
    ),
)

FAILING = (
    Case(
        name="advice NEVER: a bad request",
        happens="The generation's id has a character that is not allowed.",
        reports="INVALID_REQUEST at once; the engine is not called.",
        request={"generation_id": "not an id"},
        expects={
            **NOTHING,
            "error": error("INVALID_ARGUMENT", "INVALID_REQUEST", "NEVER", last_sequence=0),
        },
        engine_calls=0,
    ),
    Case(
        name="advice NEVER: a reused id",
        happens="The id is in use with another prompt.",
        reports="GENERATION_ID_REUSED at once; the engine was called only for the other generation.",
        request={"generation_id": "taken", "prompt": "another one"},
        before=(Ended("taken"),),
        script=TOLD,
        expects={
            **NOTHING,
            "error": error("ALREADY_EXISTS", "GENERATION_ID_REUSED", "NEVER", ended=ANYTHING),
        },
    ),
    Case(
        name="advice NEVER: an engine that refuses the key",
        happens="The engine answers 401.",
        reports="ENGINE_AUTH_FAILED at once; one engine call.",
        script=(Status(401, {"error": {"message": "bad key"}}),),
        expects={
            **NOTHING,
            "error": error("FAILED_PRECONDITION", "ENGINE_AUTH_FAILED", "NEVER", ended=ANYTHING),
        },
    ),
    Case(
        name="advice RETRY: an engine that is unavailable for a moment",
        happens="The engine answers 503 to the first call, and the answer to the second.",
        reports=(
            "The answer; the second start was made under the same id, which was free again; two engine calls."
        ),
        request={"generation_id": "mine"},
        script=(InCall(1, Status(503, {})), *TOLD),
        expects={"text": "".join(WORDS), "token_count": 12, "usage": usage(12), "resumes": 1},
        engine_calls=2,
        check=id_is_free,
    ),
    Case(
        name="advice RETRY: an engine that stays unavailable",
        happens="The engine answers 503 to every call.",
        reports="ENGINE_UNAVAILABLE after three starts; three engine calls.",
        script=(Status(503, {}),),
        expects={
            **NOTHING,
            "error": error("UNAVAILABLE", "ENGINE_UNAVAILABLE", "RETRY", ended=ANYTHING, last_sequence=0),
            "resumes": 2,
        },
        engine_calls=3,
    ),
    Case(
        name="advice RETRY: too long a wait",
        happens="The engine answers 503 and asks for a delay of one hour, which RetryInfo has too.",
        reports="ENGINE_UNAVAILABLE at once, because the delay is too long; one engine call.",
        script=(Status(503, {}, {"Retry-After": "3600"}),),
        expects={
            **NOTHING,
            "error": error("UNAVAILABLE", "ENGINE_UNAVAILABLE", "RETRY", ended=ANYTHING, last_sequence=0),
        },
    ),
    Case(
        name="advice RETRY: a full server",
        happens=(
            "The only place is taken by another caller, who leaves once the driver's call was turned away."
        ),
        reports="The answer, after the client has started again on OVERLOADED.",
        limits={"max_generations": 1},
        before=(Reading("other", detached=False), OthersLeave("open")),
        script=(Text("One"), InCall(1, Stalls()), Text(" two"), *END),
        expects={"text": "One two", "resumes": AtLeast(1)},
        engine_calls=2,
    ),
    Case(
        name="advice RETRY: a server that is replaced",
        happens="The server drains and rejects the start with DRAINING; then another server takes its place.",
        reports="The answer, from the second server, however long the first one drained.",
        before=(Reading("other"), Replaced()),
        script=(Text("One"), InCall(1, Stalls()), Text(" two"), *END),
        expects={"text": "One two", "resumes": AtLeast(1)},
        engine_calls=2,
    ),
    Case(
        name="advice RETRY: a store that is unavailable for a moment",
        happens=(
            "A crafted server rejects the start with STORE_UNAVAILABLE, ends the next stream too early, and "
            "rejects the first ResumeTokens with STORE_UNAVAILABLE."
        ),
        reports="The whole answer, after one repeated start before it began and two resumes afterwards.",
        replies=(Reply(status=NO_STORE), Reply((started(), said(2, 0, "One"))), Reply(status=NO_STORE), REST),
        expects={
            "text": "One two",
            "token_count": 2,
            "sequence": 4,
            "usage": usage(2),
            "resumes": 3,
        },
        engine_calls=0,
        check=retried_then_resumed,
    ),
    Case(
        name="advice RESUME: too many readers",
        happens=(
            "The only reader's place is taken by another caller, who leaves once the driver's "
            "ResumeTokens was turned away."
        ),
        reports="The stream from its start, after the client has resumed again on READER_LIMIT.",
        request={"call": "resume", "cursor": "tg1.0...shared", "stop_after_tokens": 1},
        limits={"max_readers": 1},
        before=(Reading("shared"), OthersLeave("resume")),
        script=(Text("One"), Stalls()),
        expects={
            "text": "One",
            "finish_reason": "",
            "resumes": AtLeast(1),
            "notices": notices(attached=1),
        },
    ),
    Case(
        name="a failure after the first token",
        happens="The engine's connection is reset after two tokens.",
        reports=(
            "The text and usage until then, ENGINE_LOST with advice RETRY and `ended`; it is not "
            "repeated: one engine call."
        ),
        script=(Text("One", " two"), Reset()),
        expects={
            "text": OneOf("One two", ""),
            "finish_reason": "ERROR",
            "error": error("UNAVAILABLE", "ENGINE_LOST", "RETRY", ended=True),
        },
    ),
    Case(
        name="a failure after the first token, told by the trailers alone",
        happens="A crafted server sends a token, then ENGINE_LOST as status without `finished`.",
        reports="The same; no call is repeated.",
        replies=(
            Reply(
                (started(), said(2, 0, "One")),
                failure(grpc.StatusCode.UNAVAILABLE, "ENGINE_LOST", gen.RETRY_ADVICE_RETRY, ended=True),
            ),
        ),
        expects={
            "text": "One",
            "finish_reason": "",
            "error": error("UNAVAILABLE", "ENGINE_LOST", "RETRY", ended=True, last_sequence=2),
        },
        engine_calls=0,
        check=asked_once,
    ),
    Case(
        name="an answer that stops without its end",
        happens="The engine closes its connection after two tokens, without an end mark.",
        reports="The text until then and an error with advice RETRY and `ended`, never a normal end.",
        script=(Text("One", " two"), Drop()),
        expects={
            "text": "One two",
            "finish_reason": "ERROR",
            "error": error("UNAVAILABLE", OneOf("ENGINE_LOST", "ENGINE_TRUNCATED"), "RETRY", ended=True),
        },
    ),
    Case(
        name="a replayed failure",
        happens="A generation has failed; the driver resumes it after its last event.",
        reports="The failure again, from the trailers; no message, no further call.",
        request={"call": "resume", "cursor": "tg1.3...failed"},
        before=(Ended("failed", {"recovery": DETACH}),),
        script=(Text("One"), Drop()),
        expects={
            "finish_reason": "",
            "usage": ANYTHING,
            "error": error("UNAVAILABLE", OneOf("ENGINE_LOST", "ENGINE_TRUNCATED"), "RETRY", ended=True),
        },
    ),
    Case(
        name="drain notice",
        happens="The server begins to shut down after two tokens, and lets the stream finish.",
        reports="The notice, and the whole answer; no error, no further call.",
        script=(Text("One", " two"), Drain(), Text(" three"), *END),
        expects={"text": "One two three", "notices": notices(drain_notice=1)},
    ),
    Case(
        name="a drain that ends the generation",
        happens="The server shuts down after two tokens and lets nothing finish.",
        reports="The text until then, and DRAINING with advice RETRY and `ended`; no call is repeated.",
        script=(Text("One", " two"), Drain(0.0), Stalls()),
        expects={
            "text": "One two",
            "finish_reason": "ERROR",
            "error": error("UNAVAILABLE", "DRAINING", "RETRY", ended=True),
            "notices": notices(drain_notice=ANYTHING),
        },
        check=engine_was_left,
    ),
    Case(
        name="a newer server: fields, events and enum numbers that nobody knows",
        happens=(
            "A crafted server sends unknown fields in messages and tokens, an event of an unknown kind, and"
            f" {UNKNOWN} as state, source and finish reason, with OK."
        ),
        reports=(
            f'The answer, a sequence that counts the unknown event, `"{UNKNOWN}"` as finish reason, no error.'
        ),
        replies=(Reply(FUTURE),),
        expects={
            "text": "One two",
            "token_count": 2,
            "sequence": 5,
            "usage": usage(2),
            "finish_reason": str(UNKNOWN),
            "notices": notices(heartbeat=1),
        },
        engine_calls=0,
        check=asked_once,
    ),
    Case(
        name="a newer server: a reason, an advice and a detail that nobody knows",
        happens=(
            "A crafted server fails the start with UNAVAILABLE, an unknown reason, an unknown advice and an "
            "unknown detail. It fails the next call with NOT_FOUND and the same details."
        ),
        reports="The code alone decides: another call after UNAVAILABLE, the error itself after NOT_FOUND.",
        replies=tuple(
            Reply(status=failure(code, "FROM_THE_FUTURE", UNKNOWN, generation_id="g"))
            for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND)
        ),
        expects={
            **NOTHING,
            "error": error("NOT_FOUND", "FROM_THE_FUTURE", ""),
            "resumes": 1,
        },
        engine_calls=0,
    ),
    Case(
        name="opaque bytes of a tool call",
        happens=(
            "A crafted server sends two calls. The last fragment of the first call has bytes that the engine "
            "requires back."
        ),
        reports="Both tool calls: the first with exactly these bytes, the second with none.",
        replies=(Reply((started(), *CALLED, ended(4, 3, gen.FINISH_REASON_TOOL_CALLS))),),
        expects={
            "finish_reason": "TOOL_CALLS",
            "tool_calls": [
                {
                    "id": "c1",
                    "function_name": "look",
                    "arguments": "{}",
                    "opaque": b64encode(OPAQUE).decode(),
                },
                {"id": "c2", "function_name": "find", "arguments": "{}", "opaque": ""},
            ],
            "usage": usage(3),
        },
        engine_calls=0,
        check=asked_once,
    ),
    Case(
        name="OK too early, and events that had come before",
        happens=(
            "A crafted server ends with OK after sequence 3; resumed, it repeats an event, then goes on."
        ),
        reports="Each token once.",
        replies=(
            Reply((started(), said(2, 0, "One"), said(3, 1, " two"))),
            Reply((said(3, 1, " two"), said(5, 2, " three", " four"), ended(6, 4))),
        ),
        expects={
            "text": "One two three four",
            "token_count": 4,
            "sequence": 6,
            "resumes": 1,
            "usage": usage(4),
        },
        engine_calls=0,
        check=resumed_after_three,
    ),
    Case(
        name="a gap",
        happens="A crafted server leaves a token out.",
        reports="The text before the gap and STREAM_GAP with DATA_LOSS; the generation is cancelled.",
        replies=(Reply((started(), said(2, 0, "One"), said(4, 2, " three"), ended(5, 3))),),
        expects={
            "text": "One",
            "finish_reason": "",
            "error": error("DATA_LOSS", "STREAM_GAP", ANYTHING, last_sequence=2),
        },
        engine_calls=0,
        check=cancelled_after_error,
    ),
)
