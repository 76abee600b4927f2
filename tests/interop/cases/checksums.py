"""Cases 5: proof that a stream goes on with the same output, by checksums and the name of the log."""

from __future__ import annotations

from zlib import crc32

import grpc
from tokenstreaming.v1 import generation_pb2 as gen
from tokenstreaming.v1.generation_pb2 import ToolCallFragment as Fragment
from tokenstreaming.v1.token_stream_pb2 import StreamTokensResponse as Message

from tests.interop.acts import Ended, InCall, LeadAway, Stalls
from tests.interop.cases.failing import cancelled_after_error, ended, fragments, said, started
from tests.interop.cases.reading import END
from tests.interop.crafted_server import Reply, failure
from tests.interop.expectations import ANYTHING, ERROR_TEXTS, NOTHING, AtLeast, error, notices, told
from tests.interop.stage import Case, Report, Stage
from tests.support.scripted_engine import Text

INCARNATION = "k3Jq0wXb_-7"


def checked(message: Message, output: str) -> Message:
    """Returns the message with the checksum of all output up to it."""
    message.output_checksum = crc32(output.encode())
    return message


def sent_back(stage: Stage, report: Report) -> None:
    """Asserts that the second call has the log's name and the client's own checksum."""
    resumed = stage.crafted.calls[1]
    assert resumed.after_sequence == 2
    assert resumed.log_incarnation == INCARNATION
    assert resumed.HasField("output_checksum")
    assert resumed.output_checksum == crc32("Öne".encode())


def left_alone(stage: Stage, report: Report) -> None:
    """Asserts that the call had only what the cursor has, and that a mere reader cancels nothing."""
    (resumed,) = stage.crafted.calls
    assert not resumed.HasField("output_checksum")
    assert not resumed.log_incarnation
    assert not stage.crafted.cancelled


def all_output() -> tuple[Message, ...]:
    """Returns a stream with output in every field that the checksum covers, and some that it does not."""
    rest = Message(sequence=3)
    for index, (text, reasoning, refusal) in enumerate(
        (("", "Grübeln ", ""), ("", "🙂", ""), ("ja ", "", ""), ("語", "", "nein")), 1
    ):
        token = rest.tokens.add(index=index, count=1, text=text, reasoning_text=reasoning)
        token.refusal_text = refusal
        token.reasoning_opaque = b"not in it"
    called = (
        Fragment(call_index=0, id="ç1", function_name="søk", arguments_fragment='{"é'),
        Fragment(call_index=1, id="c2", function_name="find", arguments_fragment="{}", opaque=b"not in it"),
        Fragment(call_index=0, arguments_fragment='":1}'),
    )
    text = "Öne" + "Grübeln 🙂ja 語nein"
    calls = 'ç1søk{"éc2find{}":1}'
    return (
        started(INCARNATION),
        checked(said(2, 0, "Öne"), "Öne"),
        checked(rest, text),
        checked(fragments(6, *called), text + calls),
        checked(ended(7, 6, gen.FINISH_REASON_TOOL_CALLS), text + calls),
    )


CHECKSUMS = (
    Case(
        name="checksums over all output",
        happens=(
            "A crafted server sends text, reasoning, a refusal and fragments of two tool calls, not in ASCII "
            "alone, each message with its checksum."
        ),
        reports="All of it, and no error.",
        replies=(Reply(all_output()),),
        expects={
            "text": "Öneja 語",
            "reasoning_text": "Grübeln 🙂",
            "refusal_text": "nein",
            "tool_calls": [
                {"id": "ç1", "function_name": "søk", "arguments": '{"é":1}', "opaque": ""},
                {"id": "c2", "function_name": "find", "arguments": "{}", "opaque": "bm90IGluIGl0"},
            ],
            "token_count": 5,
            "sequence": 7,
            "finish_reason": "TOOL_CALLS",
        },
        engine_calls=0,
    ),
    Case(
        name="a wrong checksum",
        happens="A crafted server sends a token with a checksum of other output.",
        reports="The text before it, and CHECKSUM_MISMATCH with DATA_LOSS; the generation is cancelled.",
        replies=(
            Reply(
                (
                    started(INCARNATION),
                    checked(said(2, 0, "One"), "One"),
                    checked(said(3, 1, " two"), "Two two"),
                    checked(ended(4, 2), "Two two"),
                )
            ),
        ),
        expects={
            "text": "One",
            "sequence": 2,
            "cursor": f"tg1.2.{crc32(b'One'):08x}.{INCARNATION}.crafted",
            "finish_reason": "",
            "error": error("DATA_LOSS", "CHECKSUM_MISMATCH", ANYTHING, last_sequence=2),
        },
        request={"generation_id": "crafted"},
        engine_calls=0,
        check=cancelled_after_error,
    ),
    Case(
        name="a drop: what goes back to the server",
        happens="A crafted server ends with OK after a token; the driver resumes.",
        reports="The rest; the second call had the log's name and the client's checksum.",
        replies=(
            Reply((started(INCARNATION), said(2, 0, "Öne"))),
            Reply((checked(said(3, 1, " two"), "Öne two"), checked(ended(4, 2), "Öne two"))),
        ),
        expects={"text": "Öne two", "token_count": 2, "resumes": 1},
        engine_calls=0,
        check=sent_back,
    ),
    Case(
        name="a cursor without a checksum",
        happens=(
            "The driver resumes after an event, without a checksum. A crafted server sends two messages, the "
            "second one with a checksum that does not follow from the first one."
        ),
        reports=(
            "The first message, whose checksum the client takes as it is, then CHECKSUM_MISMATCH; the "
            "generation is not cancelled, because the driver did not start it."
        ),
        request={"call": "resume", "cursor": "tg1.2...crafted"},
        replies=(
            Reply((checked(said(3, 1, " two"), "One two"), checked(said(4, 2, " three"), "One two four"))),
        ),
        expects={
            "text": " two",
            "sequence": 3,
            "cursor": f"tg1.3.{crc32(b'One two'):08x}..crafted",
            "finish_reason": "",
            "error": error("DATA_LOSS", "CHECKSUM_MISMATCH", ANYTHING, last_sequence=3),
        },
        engine_calls=0,
        check=left_alone,
    ),
    Case(
        name="a server that knows no checksums",
        happens="A crafted server sends two tokens, and no checksums.",
        reports="Both tokens, and a cursor with the client's own checksum.",
        request={"generation_id": "crafted"},
        replies=(Reply((started(), said(2, 0, "Öne"), said(3, 1, " two"), ended(4, 2))),),
        expects={
            "text": "Öne two",
            "sequence": 4,
            "cursor": f"tg1.4.{crc32('Öne two'.encode()):08x}..crafted",
        },
        engine_calls=0,
    ),
    Case(
        name="a cursor of other output",
        happens="A generation has ended; the driver resumes it with a checksum that is not the output's.",
        reports="LOG_DIVERGED with DATA_LOSS and advice RETRY.",
        request={"call": "resume", "cursor": f"tg1.2.{crc32(b'Two'):08x}..ended"},
        before=(Ended("ended"),),
        script=(Text("One"), *END),
        expects={
            **NOTHING,
            "usage": ANYTHING,
            "error": error("DATA_LOSS", "LOG_DIVERGED", "RETRY", ended=ANYTHING, last_sequence=2),
        },
    ),
    Case(
        name="a cursor of another log",
        happens="A generation has ended; the driver resumes it with the name of another log.",
        reports="GENERATION_NOT_FOUND with advice NEVER.",
        request={"call": "resume", "cursor": "tg1.2..another.ended"},
        before=(Ended("ended"),),
        script=(Text("One"), *END),
        expects={
            **NOTHING,
            "usage": ANYTHING,
            "error": error("NOT_FOUND", "GENERATION_NOT_FOUND", "NEVER", ended=ANYTHING, last_sequence=2),
        },
    ),
    Case(
        name="another generation under the same id",
        happens=(
            "The connection is reset after two tokens, and new ones lead to another server, which has "
            "another generation under the same id."
        ),
        reports="The text until then, and GENERATION_LOST; nothing of the other generation.",
        request={"generation_id": "taken"},
        script=(Text("One", " two"), InCall(1, LeadAway(started="taken")), Text(" three", " four"), Stalls()),
        expects={
            "text": "One two",
            "finish_reason": "",
            "error": error("NOT_FOUND", "GENERATION_LOST", "RETRY"),
            "resumes": AtLeast(1),
            "notices": notices(attached=ANYTHING),
        },
        engine_calls=2,
    ),
    Case(
        name="the words for a stream that ends too early",
        happens="A crafted server ends with OK after a token, and whenever the driver resumes.",
        reports="The text until then and CONNECTION_LOST with that cause, once the patience of 1 s ends.",
        request={"patience_seconds": 1},
        replies=(Reply((started(), said(2, 0, "One"))), Reply()),
        expects={
            "text": "One",
            "finish_reason": "",
            "error": error(
                "UNAVAILABLE",
                "CONNECTION_LOST",
                "RESUME",
                message=told("CONNECTION_LOST", ERROR_TEXTS["stream ended without finished"]),
            ),
            "resumes": AtLeast(1),
        },
        engine_calls=0,
    ),
    Case(
        name="the words for a lost generation",
        happens="A crafted server ends with OK after a token, and then no longer knows the generation.",
        reports="GENERATION_LOST, with the server's message but not its advice.",
        replies=(
            Reply((started(), said(2, 0, "One"))),
            Reply(
                status=failure(grpc.StatusCode.NOT_FOUND, "GENERATION_NOT_FOUND", gen.RETRY_ADVICE_NEVER),
            ),
        ),
        expects={
            "text": "One",
            "finish_reason": "",
            "error": error(
                "NOT_FOUND", "GENERATION_LOST", "RETRY", message=told("GENERATION_LOST", "it failed")
            ),
            "resumes": 1,
        },
        engine_calls=0,
    ),
)
