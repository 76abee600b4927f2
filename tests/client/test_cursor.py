"""Cursors, checksums and detaching: a generation can be handed over, and goes on with the same output."""

from __future__ import annotations

from zlib import crc32

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenstreaming.v1 import generation_pb2 as gen
from tokenstreaming.v1.token_stream_pb2 import StreamTokensRequest, StreamTokensResponse

from tests.client.test_resume import DROP, failure, finished, heartbeat, session, started, token
from tokengrpc.client.actions import Finish, Raise, ResumeCall
from tokengrpc.client.assembler import Assembler
from tokengrpc.client.cursor import Cursor
from tokengrpc.client.errors import DeadlineExceededError, InvalidRequestError, ServerFailedError
from tokengrpc.client.plan import Plan, plan_resume, plan_stream
from tokengrpc.client.policy import ResumePolicy
from tokengrpc.errors import Advice

INCARNATION = "k3Jq0wXb"


@pytest.mark.parametrize(
    ("cursor", "text"),
    [
        (Cursor("chat-7", 57, INCARNATION, 0x9AE0DAAF), "tg1.57.9ae0daaf.k3Jq0wXb.chat-7"),
        (Cursor("chat-7"), "tg1.0...chat-7"),
        (Cursor("a.b..c", 1, "_-9", 0), "tg1.1.00000000._-9.a.b..c"),
        (Cursor("a~b_", 2**31 - 1), "tg1.2147483647...a~b_"),
    ],
)
def test_a_cursor_is_one_line_of_text(cursor: Cursor, text: str) -> None:
    """The text of each cursor is read back as an equal cursor."""
    assert str(cursor) == text
    assert Cursor.parse(text) == cursor
    assert eval(repr(cursor)) == cursor


@pytest.mark.parametrize(
    "text",
    [
        "",
        "chat-7",
        "tg2.57.9ae0daaf.k3Jq0wXb.chat-7",
        "tg1.57.9ae0daaf.k3Jq0wXb",
        "tg1.57.9ae0daaf.k3Jq0wXb.",
        "tg1..9ae0daaf.k3Jq0wXb.chat-7",
        "tg1.-1.9ae0daaf.k3Jq0wXb.chat-7",
        "tg1.+1...chat-7",
        "tg1.\N{FULLWIDTH DIGIT TWO}...chat-7",
        "tg1.2147483648...chat-7",
        "tg1.57.9AE0DAAF.k3Jq0wXb.chat-7",
        "tg1.57.9ae0daa.k3Jq0wXb.chat-7",
        "tg1.57.9ae0daaf.k3 q0wXb.chat-7",
        "tg1.57.9ae0daaf.k3Jq0wXb.chat-7\n",
        " tg1.57.9ae0daaf.k3Jq0wXb.chat-7",
        "tg1.007...chat-7",
        "tg1.1...chat 7",
        "tg1.1...é",
        "tg1.1...chat-7\ud800",
        "tg1.1..." + "x" * 129,
    ],
)
def test_any_other_text_is_refused(text: str) -> None:
    """The error names the text, and no call is made."""
    with pytest.raises(
        InvalidRequestError, match="is not a cursor; pass one as the stream gave it"
    ) as caught:
        plan_resume(text)
    assert (caught.value.reason, caught.value.code) == ("INVALID_CURSOR", grpc.StatusCode.INVALID_ARGUMENT)


def test_a_cursor_that_has_no_text_is_refused() -> None:
    """A cursor made by hand is checked like a text."""
    for wrong in (Cursor("g", -1), Cursor(""), Cursor("g", 1, "two words")):
        with pytest.raises(InvalidRequestError, match="is not a cursor"):
            plan_resume(wrong)


def test_resuming_sends_the_log_and_the_checksum() -> None:
    """The server can check that it continues the output that this client has."""
    reading = session()
    reading.begin(0.0)
    begun = started()
    begun.started.log_incarnation = INCARNATION
    reading.receive(begun)
    first = reading.call_ended(DROP, 0.0)
    assert isinstance(first, ResumeCall)
    assert not first.request.HasField("output_checksum")
    reading.receive(token(2, 0, "Öne"))
    second = reading.call_ended(DROP, 0.0)
    assert isinstance(second, ResumeCall)
    assert second.request.output_checksum == crc32("Öne".encode())
    assert second.request.log_incarnation == INCARNATION
    assert str(reading.assembler.cursor) == f"tg1.2.{crc32('Öne'.encode()):08x}.{INCARNATION}.g"


def test_a_resumed_stream_learns_the_log_from_attached() -> None:
    """The cursor may lack it, as that of a generation of which only the id is known."""
    reading = session(plan_resume(Cursor("g")))
    reading.begin(0.0)
    reading.receive(StreamTokensResponse(attached=gen.Attached(log_incarnation=INCARNATION)))
    assert reading.assembler.cursor == Cursor("g", 0, INCARNATION)


def output(sequence: int, index: int = 0) -> StreamTokensResponse:
    """Returns a message with output in each field that the checksum covers, and in some that it does not."""
    message = StreamTokensResponse(sequence=sequence)
    message.tokens.add(index=index, count=1, reasoning_text="hm ", reasoning_opaque=b"x")
    message.tokens.add(index=index + 1, count=1, text="語", refusal_text="no")
    message.tool_call_fragments.add(
        call_index=1, id="ç", function_name="f", arguments_fragment="{", opaque=b"x"
    )
    message.tool_call_fragments.add(call_index=0, arguments_fragment="}")
    return message


def checked(message: StreamTokensResponse, text: str) -> StreamTokensResponse:
    """Returns the message with the checksum of all output up to it."""
    message.output_checksum = crc32(text.encode())
    return message


def test_the_checksum_covers_all_output_in_order() -> None:
    """Text, reasoning and refusal of each token, then id, name and arguments of each fragment."""
    assembler = Assembler(Cursor("g"))
    assembler.add(started())
    assert assembler.cursor.checksum is None
    assert assembler.add(checked(output(2), "hm 語noçf{}"))
    assert assembler.add(checked(output(3, 2), "hm 語noçf{}" * 2))
    assert assembler.cursor.checksum == crc32(("hm 語noçf{}" * 2).encode())


def test_other_output_than_the_servers_is_never_passed_on() -> None:
    """The message is not added, the cursor stays before it, and the generation needs a cancel."""
    reading = session()
    reading.begin(0.0)
    reading.receive(checked(token(2, 0, "One"), "One"))
    with pytest.raises(ServerFailedError) as caught:
        reading.receive(checked(token(3, 1, " two"), "Two two"))
    error = caught.value
    assert (error.reason, error.code) == ("CHECKSUM_MISMATCH", grpc.StatusCode.DATA_LOSS)
    assert (error.partial_text, error.last_sequence) == ("One", 2)
    assert reading.assembler.cursor == Cursor("g", 2, "", crc32(b"One"))
    assert reading.needs_cancel


def test_a_lost_connection_names_the_cursor() -> None:
    """A person who sees only the error can go on with `resume`, or on the command line."""
    reading = session(policy=ResumePolicy(patience=0.0))
    reading.begin(0.0)
    reading.receive(token(2, 0, "One"))
    ended = reading.call_ended(DROP, 0.0)
    assert isinstance(ended, Raise)
    assert ended.error.cursor == str(reading.assembler.cursor)
    assert str(ended.error).endswith(f"; resume with the cursor (cursor {ended.error.cursor})")


def test_a_gap_within_a_message_adds_nothing() -> None:
    """The tokens before the gap belong to a message that the cursor does not cover."""
    assembler = Assembler(Cursor("g"))
    message = token(2, 0, "One")
    message.tokens.add(index=2, count=1, text=" three")
    with pytest.raises(ServerFailedError, match="gap"):
        assembler.add(message)
    assert assembler.text == ""
    assert assembler.cursor == Cursor("g")


@pytest.mark.parametrize("checksum", [None, crc32(b"One")])
def test_a_resumed_stream_continues_a_checksum(checksum: int | None) -> None:
    """Without the cursor's, the first one that arrives is taken as it is. From then on, all are checked."""
    assembler = Assembler(Cursor("g", 2, INCARNATION, checksum))
    if checksum is None:
        assembler.add(token(3, 1, " and"))
        assert assembler.cursor.checksum is None
        assembler.add(checked(token(4, 2, " half"), "One and half"))
    else:
        assembler.add(checked(token(3, 1, " and half"), "One and half"))
    last = assembler.sequence
    assert assembler.cursor.checksum == crc32(b"One and half")
    with pytest.raises(ServerFailedError, match="differs"):
        assembler.add(checked(token(last + 1, 3 if checksum is None else 2, " two"), "other"))


@given(texts=st.lists(st.text(), min_size=1, max_size=8), cut=st.integers(0, 8))
def test_a_handed_over_checksum_is_that_of_the_whole(texts: list[str], cut: int) -> None:
    """Two readers, one after the other, compute what one reader would."""
    one = Assembler(Cursor("g"))
    readers = [Assembler(Cursor("g"))]
    for index, text in enumerate(texts):
        if index == cut:
            readers.append(Assembler(Cursor.parse(str(readers[0].cursor))))
        message = StreamTokensResponse(sequence=index + 1)
        message.tokens.add(index=index, count=1, text=text)
        one.add(message)
        readers[-1].add(message)
    assert one.cursor == readers[-1].cursor
    assert one.cursor.checksum == crc32("".join(texts).encode())


def test_a_detached_stream_cancels_and_receives_nothing() -> None:
    """What arrives after the cursor belongs to the next reader. The stream ends without an error."""
    reading = session()
    reading.begin(0.0)
    reading.receive(token(2, 0, "One"))
    cursor = reading.detach()
    assert not reading.receive(token(3, 1, " two"))
    assert reading.assembler.cursor == cursor == Cursor("g", 2, "", crc32(b"One"))
    assert not reading.needs_cancel
    assert isinstance(reading.stopped(), Finish)


def test_a_stream_that_is_not_resumable_cannot_be_left() -> None:
    """Detaching changes nothing: closing the stream still stops the generation."""
    reading = session(plan_stream(StreamTokensRequest(prompt="x"), resumable=False))
    reading.begin(0.0)
    with pytest.raises(InvalidRequestError, match="open it as resumable") as caught:
        reading.detach()
    assert (caught.value.reason, caught.value.code) == ("NOT_RESUMABLE", grpc.StatusCode.FAILED_PRECONDITION)
    assert reading.receive(token(2, 0))
    assert isinstance(reading.stopped(), Raise)


@pytest.mark.parametrize("cancel_on_close", [True, False])
def test_a_read_only_stream_cancels_only_if_asked(cancel_on_close: bool) -> None:
    """Like a stream that started the generation: not after its end, not after most errors."""

    def opened() -> Plan:
        return plan_resume(Cursor("g", 5), cancel_on_close=cancel_on_close)

    reading = session(opened())
    assert not reading.needs_cancel
    reading.begin(0.0)
    reading.receive(heartbeat(5))
    assert reading.needs_cancel is cancel_on_close
    reading.receive(finished(6))
    assert not reading.needs_cancel
    late = DeadlineExceededError("late", code=grpc.StatusCode.DEADLINE_EXCEEDED)
    for cause, needs_cancel in ((None, False), (failure("CANCELLED", Advice.NEVER), False), (late, True)):
        reading = session(opened())
        reading.begin(0.0)
        assert isinstance(reading.call_ended(cause, 0.0), Finish | Raise)
        assert reading.needs_cancel is (cancel_on_close and needs_cancel)
