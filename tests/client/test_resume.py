"""The resume policy and the assembler without a network: dropped calls must not change what a caller gets."""

from __future__ import annotations

import json
import resource
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenstreaming.v1 import generation_pb2 as gen
from tokenstreaming.v1 import input_pb2, usage_pb2
from tokenstreaming.v1.token_stream_pb2 import DESCRIPTOR, StreamTokensRequest, StreamTokensResponse

from tokengrpc import TokenStreamClient
from tokengrpc.client.actions import Finish, Raise, ResumeCall, StartCall
from tokengrpc.client.assembler import Assembler
from tokengrpc.client.channel import (
    DEFAULT_OPTIONS,
    RETRIED_METHODS,
    SERVICE,
    SERVICE_CONFIG,
    channel_options,
)
from tokengrpc.client.cursor import Cursor
from tokengrpc.client.errors import (
    ConnectionLostError,
    DeadlineExceededError,
    GenerationLostError,
    NotFoundError,
    ServerFailedError,
    TokenStreamError,
    UnavailableError,
)
from tokengrpc.client.plan import Plan, plan_stream
from tokengrpc.client.policy import ResumePolicy, Step, next_step
from tokengrpc.client.request import build_request
from tokengrpc.client.resume import Session
from tokengrpc.errors import Advice

if TYPE_CHECKING:
    from collections.abc import Sequence

DROP = TokenStreamError("Connection reset by peer", code=grpc.StatusCode.UNAVAILABLE)


def started(sequence: int = 1) -> StreamTokensResponse:
    return StreamTokensResponse(sequence=sequence, started=gen.Started(generation_id="g", model="m"))


def token(sequence: int, index: int, text: str = "", *, tokens: int = 1) -> StreamTokensResponse:
    return StreamTokensResponse(
        sequence=sequence,
        tokens=[gen.Token(index=index, count=tokens, text=text or f"t{index} ")],
        usage=usage_pb2.Usage(output_token_count=index + tokens),
    )


def finished(sequence: int, reason: gen.FinishReason = gen.FINISH_REASON_END) -> StreamTokensResponse:
    return StreamTokensResponse(sequence=sequence, finished=gen.Finished(finish_reason=reason))


def heartbeat(sequence: int) -> StreamTokensResponse:
    return StreamTokensResponse(sequence=sequence, heartbeat=gen.Heartbeat())


def failure(
    reason: str,
    advice: Advice | None,
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE,
    *,
    ended: bool = False,
    retry_delay: float | None = None,
) -> TokenStreamError:
    return TokenStreamError(
        "failed", code=code, reason=reason, advice=advice, ended=ended, retry_delay=retry_delay
    )


def session(plan: Plan | None = None, policy: ResumePolicy | None = None) -> Session:
    plan = plan or plan_stream(StreamTokensRequest(prompt="x", generation_id="g"))
    return Session(plan, policy or ResumePolicy(), random=lambda: 1.0)


@dataclass
class Generation:
    """Generation on a simulated server: the events that a caller must get, split into messages anywhere."""

    events: list[StreamTokensResponse]
    overlap: int = 0
    calls: int = field(default=0, init=False)

    @classmethod
    def of(cls, counts: list[int], overlap: int = 0) -> Generation:
        """Creates a generation with one token event for each count."""
        events, index = [started()], 0
        for number in counts:
            events.append(token(len(events) + 1, index, tokens=number))
            index += number
        return cls(events=[*events, finished(len(events) + 1)], overlap=overlap)

    @property
    def text(self) -> str:
        """The complete answer."""
        return "".join(t.text for event in self.events for t in event.tokens)

    def stream(self, after: int, joined: int) -> list[StreamTokensResponse]:
        """Returns the messages after a sequence, with up to `joined` token events in one message.

        The messages begin `overlap` events earlier, so that some events are repeated.
        """
        self.calls += 1
        messages: list[StreamTokensResponse] = []
        run = 0
        for event in self.events[max(0, after - self.overlap) :]:
            # Repeated events are never joined with new ones.
            repeated = bool(messages) and messages[-1].sequence <= after
            copy = StreamTokensResponse()
            copy.CopyFrom(event)
            if messages and not repeated and event.tokens and messages[-1].tokens and run < joined:
                messages[-1].MergeFrom(copy)
                run += 1
            else:
                messages.append(copy)
                run = 1
        return messages


@dataclass
class Reader:
    """Driver that performs a session's actions against a generation, over connections that drop."""

    session: Session
    tokens: list[gen.Token] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)

    def read(self, generation: Generation, drops: list[int], joined: int = 1) -> Finish | Raise:
        """Reads until the end. Each number in `drops` is how many messages one connection delivers."""
        now = 0.0
        action = self.session.begin(now)
        remaining = iter(drops)
        while isinstance(action, StartCall | ResumeCall):
            self.delays.append(action.delay)
            now += action.delay
            after = action.request.after_sequence if isinstance(action, ResumeCall) else 0
            messages = generation.stream(after, joined)
            drop = next(remaining, None)
            for message in messages[:drop]:
                if self.session.receive(message):
                    self.tokens.extend(message.tokens)
            action = self.session.call_ended(None if drop is None else DROP, now)
        assert isinstance(action, Finish | Raise)
        return action


@given(
    counts=st.lists(st.integers(1, 3), max_size=20),
    drops=st.lists(st.integers(1, 6), max_size=12),
    overlap=st.integers(0, 5),
    joined=st.integers(1, 4),
)
def test_every_token_arrives_once_despite_drops(
    counts: list[int], drops: list[int], overlap: int, joined: int
) -> None:
    """With drops at any message boundary and overlapping replays, each token arrives once, in order."""
    generation = Generation.of(counts, overlap)
    reader = Reader(session())
    assert isinstance(reader.read(generation, drops, joined), Finish)
    assert "".join(t.text for t in reader.tokens) == generation.text == reader.session.assembler.text
    assert [t.index for t in reader.tokens] == [sum(counts[:n]) for n in range(len(counts))]


@given(patience=st.integers(1, 300), received=st.integers(0, 5))
def test_patience_is_bounded_by_time(patience: int, received: int) -> None:
    """If every connection breaks, the client reconnects until the next delay would end after its patience."""
    generation = Generation.of([1] * 10)
    reader = Reader(session(policy=ResumePolicy(patience=patience)))
    ended = reader.read(generation, [received] + [0] * 1000)
    assert isinstance(ended, Raise)
    assert patience - 2.0 <= sum(reader.delays) < patience
    assert isinstance(ended.error, ConnectionLostError if received else TokenStreamError)
    assert ended.error.last_sequence == received


@pytest.mark.parametrize(
    ("patience", "timeout", "expected"),
    [(None, None, 60.0), (None, 300.0, 300.0), (20.0, None, 20.0), (20.0, 300.0, 20.0), (20.0, 5.0, 5.0)],
)
def test_patience_ends_with_the_timeout(
    patience: float | None, timeout: float | None, expected: float
) -> None:
    """Without a patience of its own, a stream reconnects until its timeout, or for 60 s without one."""
    plan = plan_stream(StreamTokensRequest(prompt="x"), timeout=timeout)
    for delay, allowed in ((expected - 0.1, True), (expected, False)):
        reading = session(plan, ResumePolicy(patience=patience, initial_backoff=delay, max_backoff=delay))
        reading.begin(100.0)
        assert isinstance(reading.call_ended(DROP, 100.0), StartCall if allowed else Raise)


@pytest.mark.parametrize("delivered", [started(), token(1, 0), heartbeat(0)])
def test_what_a_call_delivers_renews_the_patience(delivered: StreamTokensResponse) -> None:
    """Events and heartbeats show that a server works for this stream. The backoff begins again as well."""
    reading = session(policy=ResumePolicy(patience=10.0))
    reading.begin(0.0)
    delays = []
    for now in (0.0, 9.0, 18.0, 27.0):
        action = reading.call_ended(DROP, now)
        assert isinstance(action, StartCall | ResumeCall)
        delays.append(action.delay)
        reading.receive(heartbeat(0) if reading.assembler.sequence else delivered)
    assert delays == [0.05] * 4


def test_other_notices_do_not_renew_the_patience() -> None:
    """A call that attaches and then breaks again and again has delivered nothing."""
    reading = session(policy=ResumePolicy(patience=10.0))
    reading.begin(0.0)
    assert isinstance(reading.call_ended(DROP, 0.0), StartCall)
    assert reading.receive(StreamTokensResponse(attached=gen.Attached()))
    assert isinstance(reading.call_ended(DROP, 10.0), Raise)


@given(attempt=st.integers(0, 5000), drawn=st.floats(0, 1))
def test_backoff_is_bounded(attempt: int, drawn: float) -> None:
    """Full jitter: the delay is between 0 and the doubled backoff, and never above the maximum."""
    delay = ResumePolicy().backoff(attempt, drawn)
    assert 0 <= delay <= min(2.0, 0.05 * 2.0 ** min(attempt, 50))


def test_delays_grow_and_add_the_servers_retry_delay() -> None:
    """The backoff of consecutive attempts grows, and the delay in RetryInfo is added."""
    reading = session()
    reading.begin(0.0)
    with_retry_delay = failure("READER_LIMIT", Advice.RESUME, retry_delay=3.0)
    actions = [reading.call_ended(cause, 0.0) for cause in (DROP, DROP, with_retry_delay)]
    assert [action.delay for action in actions if isinstance(action, StartCall)] == [0.05, 0.1, 3.2]


@pytest.mark.parametrize("delay", [30.1, 1e12])
def test_a_retry_delay_above_the_maximum_raises_the_error(delay: float) -> None:
    """The error has the server's retry delay. A policy with a higher maximum waits instead."""
    for cause in (
        failure("OVERLOADED", Advice.RETRY, retry_delay=delay),
        failure("READER_LIMIT", Advice.RESUME, retry_delay=delay),
    ):
        for policy, expected in (
            (ResumePolicy(), Raise),
            (ResumePolicy(max_retry_delay=2e12, patience=2e12), StartCall),
        ):
            reading = session(policy=policy)
            reading.begin(0.0)
            action = reading.call_ended(cause, 0.0)
            assert isinstance(action, expected)
            if isinstance(action, Raise):
                assert (action.error, action.error.retry_delay) == (cause, delay)


def test_a_negative_retry_delay_counts_as_zero() -> None:
    """A negative delay in RetryInfo does not shorten the backoff."""
    reading = session()
    reading.begin(0.0)
    action = reading.call_ended(failure("READER_LIMIT", Advice.RESUME, retry_delay=-9.0), 0.0)
    assert isinstance(action, StartCall)
    assert action.delay == 0.05


@pytest.mark.parametrize("reason", ["OVERLOADED", "DRAINING"])
def test_another_replica_is_tried_at_once(reason: str) -> None:
    """Once in a row of failures, but not beyond patience, nor if the server asks for too long a delay."""
    rejection = failure(reason, Advice.RETRY, retry_delay=3.0)
    reading = session()
    reading.begin(0.0)
    delays = []
    for cause in (DROP, rejection, rejection, "delivered", DROP, rejection, rejection):
        if isinstance(cause, str):
            reading.receive(started())
            continue
        action = reading.call_ended(cause, 0.0)
        assert not isinstance(action, Raise | Finish)
        delays.append(action.delay)
    assert delays == [0.05, 0.0, 3.1, 0.05, 0.0, 3.1]
    for policy, asked in ((ResumePolicy(patience=0.0), 0.0), (ResumePolicy(), 31.0)):
        reading = session(policy=policy)
        reading.begin(0.0)
        assert isinstance(reading.call_ended(failure(reason, Advice.RETRY, retry_delay=asked), 0.0), Raise)


def test_many_small_fragments_take_little_memory() -> None:
    """Arguments that arrive byte by byte are not copied for each byte."""
    assembler = Assembler(Cursor("g"))
    fragment = gen.ToolCallFragment(call_index=0, arguments_fragment="x")
    message = StreamTokensResponse(sequence=1, tool_call_fragments=[fragment] * 40_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assembler.add(message)
    (call,) = assembler.tool_calls
    assert call.arguments == "x" * 40_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB on Linux


def test_a_drop_before_any_message_repeats_the_start() -> None:
    """A repeated StreamTokens with the same id attaches to the generation if the first call started it."""
    reading = session()
    first, second = reading.begin(0.0), reading.call_ended(DROP, 0.0)
    assert isinstance(first, StartCall)
    assert isinstance(second, StartCall)
    assert first.request == second.request


def test_a_drop_after_messages_resumes_after_the_cursor() -> None:
    """ResumeTokens requests the events after the last complete event."""
    reading = session()
    reading.begin(0.0)
    reading.receive(started())
    reading.receive(token(2, 0))
    action = reading.call_ended(DROP, 0.0)
    assert isinstance(action, ResumeCall)
    assert (action.request.generation_id, action.request.after_sequence) == ("g", 2)


def test_a_retry_keeps_the_id() -> None:
    """A rejection frees the id. After a broken call, the same id attaches instead of starting twice."""
    reading = session(plan_stream(StreamTokensRequest(prompt="x")))
    first = reading.begin(0.0)
    assert isinstance(first, StartCall)
    for cause in (
        failure("QUOTA_EXCEEDED", Advice.RETRY, retry_delay=1.0),
        DROP,
        failure("DRAINING", Advice.RETRY),
    ):
        again = reading.call_ended(cause, 0.0)
        assert isinstance(again, StartCall)
        assert again.request == first.request
        assert again.delay >= (cause.retry_delay or 0.0)


@pytest.mark.parametrize("resumable", [True, False])
def test_rejections_are_repeated_while_patience_lasts(resumable: bool) -> None:
    """A server that is full or restarts rejects calls, and loses nothing: time decides, not attempts."""
    plan = plan_stream(StreamTokensRequest(prompt="x"), resumable=resumable)
    reading = session(plan, ResumePolicy(patience=30.0))
    first = reading.begin(0.0)
    rejection = failure("DRAINING", Advice.RETRY)
    for now in range(28):
        again = reading.call_ended(rejection, float(now))
        assert isinstance(again, StartCall)
        assert again.request == first.request
    ended = reading.call_ended(rejection, 29.0)
    assert isinstance(ended, Raise)
    assert ended.error is rejection


def test_retries_are_bounded() -> None:
    """After two more starts without an engine, the failure is raised to the caller."""
    reading = session()
    reading.begin(0.0)
    rejection = failure("ENGINE_UNAVAILABLE", Advice.RETRY)
    actions = [reading.call_ended(rejection, 0.0) for _ in range(3)]
    assert [type(action) for action in actions] == [StartCall, StartCall, Raise]


@pytest.mark.parametrize(
    ("cause", "context", "step"),
    [
        (None, "start", Step.RECONNECT),
        (None, "resume", Step.RECONNECT),
        (None, "first resume", Step.END),
        (None, "first resume with events", Step.RECONNECT),
        (DROP, "start", Step.RECONNECT),
        (DROP, "resume", Step.RECONNECT),
        (failure("", None, grpc.StatusCode.CANCELLED), "resume", Step.RECONNECT),
        (failure("", None, grpc.StatusCode.INTERNAL), "resume", Step.RECONNECT),
        (failure("", None, grpc.StatusCode.UNKNOWN), "resume", Step.RECONNECT),
        (failure("", None, grpc.StatusCode.DEADLINE_EXCEEDED), "resume", Step.RAISE),
        (failure("", None, grpc.StatusCode.RESOURCE_EXHAUSTED), "resume", Step.RAISE),
        (failure("", None, grpc.StatusCode.UNIMPLEMENTED), "start", Step.RAISE),
        (failure("READER_TOO_SLOW", Advice.RESUME), "resume", Step.RECONNECT),
        (failure("DRAINING", Advice.RESUME), "start with events", Step.RECONNECT),
        (failure("DRAINING", Advice.RETRY, ended=True), "start with events", Step.RAISE),
        (failure("DRAINING", Advice.RETRY), "start", Step.REPEAT),
        (failure("DRAINING", Advice.RETRY), "resume", Step.REPEAT),
        (failure("DRAINING", Advice.NEVER), "start", Step.RAISE),
        (failure("DRAINING", Advice.NEVER), "resume", Step.REPEAT),
        (failure("OVERLOADED", None), "start", Step.RECONNECT),
        (failure("FROM_THE_FUTURE", None, grpc.StatusCode.NOT_FOUND), "resume", Step.RAISE),
        (failure("STORE_UNAVAILABLE", Advice.RETRY), "start", Step.REPEAT),
        (failure("STORE_UNAVAILABLE", Advice.RETRY), "resume", Step.REPEAT),
        (failure("STORE_UNAVAILABLE", Advice.RETRY), "start with events", Step.RAISE),
        (failure("STORE_UNAVAILABLE", Advice.RETRY, ended=True), "start", Step.RAISE),
        (failure("ENGINE_UNAVAILABLE", Advice.RETRY), "start", Step.RETRY),
        (failure("ENGINE_UNAVAILABLE", Advice.RETRY), "start with events", Step.RAISE),
        (failure("ENGINE_LOST", Advice.RETRY, ended=True), "start with events", Step.RAISE),
        (failure("ENGINE_LOST", Advice.RETRY, ended=True), "start", Step.RAISE),
        (failure("INTERNAL", Advice.RETRY, grpc.StatusCode.INTERNAL), "start", Step.RAISE),
        (failure("INVALID_REQUEST", Advice.NEVER, grpc.StatusCode.INVALID_ARGUMENT), "start", Step.RAISE),
        (failure("UNAUTHENTICATED", None, grpc.StatusCode.UNAUTHENTICATED), "start", Step.RAISE),
        (failure("CANCELLED", Advice.NEVER, grpc.StatusCode.CANCELLED), "resume", Step.RAISE),
        (failure("GENERATION_NOT_FOUND", Advice.NEVER, grpc.StatusCode.NOT_FOUND), "resume", Step.LOST),
        (failure("REPLAY_EXPIRED", Advice.NEVER), "resume", Step.LOST),
        (failure("GENERATION_NOT_FOUND", Advice.NEVER), "first resume", Step.RAISE),
    ],
)
def test_next_step(cause: TokenStreamError | None, context: str, step: Step) -> None:
    """Each kind of end of each kind of call has one next step."""
    resuming = "resume" in context
    begun = context.endswith("with events") or context == "resume"
    assert next_step(cause, resuming=resuming, begun=begun, read_only="first resume" in context) is step


def test_a_forgotten_generation_restarts_only_without_output() -> None:
    """If the server lost the generation, the client restarts it before the first token and fails after it."""
    not_found = failure("GENERATION_NOT_FOUND", Advice.NEVER, grpc.StatusCode.NOT_FOUND)
    reading = session()
    reading.begin(0.0)
    reading.receive(started())
    reading.call_ended(DROP, 0.0)
    assert isinstance(reading.call_ended(not_found, 0.0), StartCall)
    reading.receive(started())
    reading.receive(token(2, 0, "so far"))
    reading.call_ended(DROP, 0.0)
    lost = reading.call_ended(not_found, 0.0)
    assert isinstance(lost, Raise)
    assert isinstance(lost.error, GenerationLostError)
    assert lost.error.partial_text == "so far"


def test_a_read_only_stream_starts_nothing() -> None:
    """A read-only stream never calls StreamTokens and never cancels the generation."""
    reading = session(Plan(cursor=Cursor("g")))
    assert isinstance(reading.begin(0.0), ResumeCall)
    assert isinstance(reading.call_ended(DROP, 0.0), ResumeCall)
    missing = reading.call_ended(failure("GENERATION_NOT_FOUND", Advice.NEVER), 0.0)
    assert isinstance(missing, Raise)
    assert not isinstance(missing.error, GenerationLostError)
    assert not reading.needs_cancel


def test_ok_without_events_ends_a_read_only_stream() -> None:
    """Resuming after the sequence of `finished` returns no events: the generation ended without an error."""
    reading = session(Plan(cursor=Cursor("g", 7)))
    reading.begin(0.0)
    assert isinstance(reading.call_ended(None, 0.0), Finish)


def test_ok_without_finished_is_not_a_normal_end() -> None:
    """A truncated answer is never taken for a complete one, however often OK arrives without `finished`."""
    for plan in (None, Plan(cursor=Cursor("g"))):
        reading = session(plan, ResumePolicy(patience=10.0))
        reading.begin(0.0)
        reading.receive(started())
        reading.receive(token(2, 0))
        actions = [reading.call_ended(None, now) for now in (0.0, 5.0, 10.0)]
        assert [type(action) for action in actions] == [ResumeCall, ResumeCall, Raise]
        assert isinstance(reading.error, ConnectionLostError)


def test_no_attempt_goes_beyond_the_deadline() -> None:
    """If the delay would end after the deadline, the client does not reconnect."""
    reading = session(plan_stream(StreamTokensRequest(prompt="x"), timeout=10))
    reading.begin(100.0)
    assert reading.time_left(104.0) == 6.0
    cause = failure("READER_TOO_SLOW", Advice.RESUME, retry_delay=5.0)
    assert isinstance(reading.call_ended(cause, 104.0), StartCall)
    late = reading.call_ended(cause, 106.0)
    assert isinstance(late, Raise)
    assert late.error is cause


@pytest.mark.parametrize("resumable", [True, False])
@pytest.mark.parametrize(
    ("on_deadline", "action"),
    [("fail", input_pb2.DEADLINE_ACTION_FAIL), ("partial", input_pb2.DEADLINE_ACTION_FINISH_PARTIAL)],
)
def test_a_timeout_is_the_generations_own_deadline(
    on_deadline: Any, action: input_pb2.DeadlineAction, resumable: bool
) -> None:
    """The server ends the generation in time, even without a connection. The client computes no limit."""
    request = StreamTokensRequest(prompt="x")
    plan_stream(request, resumable=resumable, timeout=10, on_deadline=on_deadline)
    assert request.limits == input_pb2.Limits(deadline_action=action)


def test_the_deadline_action_of_the_request_is_kept() -> None:
    """A value in the request takes precedence over the default of an option."""
    request = StreamTokensRequest(prompt="x")
    request.limits.deadline_action = input_pb2.DEADLINE_ACTION_FINISH_PARTIAL
    plan_stream(request, timeout=10)
    assert request.limits.deadline_action == input_pb2.DEADLINE_ACTION_FINISH_PARTIAL


def test_a_drop_ends_a_non_resumable_stream() -> None:
    """A stream that is not resumable requests CANCEL, so that the server cancels its generation on a drop."""
    request = StreamTokensRequest(prompt="x")
    broken = session(plan_stream(request, resumable=False))
    assert request.recovery.disconnect_action == input_pb2.DISCONNECT_ACTION_CANCEL
    broken.begin(0.0)
    broken.receive(started())
    ended = broken.call_ended(DROP, 0.0)
    assert isinstance(ended, Raise)
    assert isinstance(ended.error, ConnectionLostError)
    assert not broken.needs_cancel


def test_a_resumable_request_has_an_id_and_detaches() -> None:
    """Resuming after a drop requires DETACH and an id that the client knows."""
    request = build_request(
        "x",
        {
            "max_tokens": 3,
            "stop": "end",
            "session_id": "chat-7",
            "priority": "batch",
            "labels": {"team": "a"},
        },
        TokenStreamClient.stream,
    )
    plan = plan_stream(request)
    assert plan.resumable
    assert request.generation_id == plan.cursor.generation_id
    assert request.recovery.disconnect_action == input_pb2.DISCONNECT_ACTION_DETACH
    assert request.sampling.stop_sequences == ["end"]
    assert (request.max_output_token_count, dict(request.labels)) == (3, {"team": "a"})
    assert request.session_id == "chat-7"
    assert request.priority == input_pb2.PRIORITY_BATCH


def test_an_unknown_priority_is_an_error() -> None:
    """The error names those that there are."""
    with pytest.raises(ValueError, match="'urgent' is unknown; pass one of interactive, standard, batch"):
        build_request("x", {"priority": "urgent"}, TokenStreamClient.stream)


def test_a_request_with_disconnect_cancel_is_not_resumable() -> None:
    """DISCONNECT_ACTION_CANCEL in the request is kept."""
    request = StreamTokensRequest(prompt="x")
    request.recovery.disconnect_action = input_pb2.DISCONNECT_ACTION_CANCEL
    assert not plan_stream(request).resumable


@pytest.mark.parametrize(
    ("wrong", "message"), [({"timeout": 0}, "positive"), ({"on_deadline": "ignore"}, '"fail" or "partial"')]
)
def test_invalid_stream_options_are_rejected(wrong: dict[str, Any], message: str) -> None:
    """A timeout that is not positive and an unknown `on_deadline` fail before a call is made."""
    with pytest.raises(ValueError, match=message):
        plan_stream(StreamTokensRequest(prompt="x"), **wrong)


@pytest.mark.parametrize(
    ("options", "service_config", "expected"),
    [
        ((), None, json.dumps(SERVICE_CONFIG)),
        ((), {"methodConfig": []}, '{"methodConfig": []}'),
        ((), "{}", "{}"),
        ((("grpc.service_config", "[]"),), "{}", "[]"),
    ],
)
def test_the_callers_channel_settings_take_precedence(
    options: Sequence[tuple[str, Any]], service_config: Any, expected: str
) -> None:
    """Each default of the channel can be replaced. The other defaults are kept."""
    merged = channel_options((*options, ("grpc.keepalive_time_ms", 1)), service_config)
    assert len(merged) == len(dict(merged))
    assert dict(merged)["grpc.service_config"] == expected
    assert dict(merged) | DEFAULT_OPTIONS == dict(merged) | {"grpc.keepalive_time_ms": 10_000}


def test_the_retry_policy_names_real_methods() -> None:
    """The retry policy covers all methods except the streaming ones, which the resume policy repeats."""
    methods = {method.name for method in DESCRIPTOR.services_by_name["TokenStream"].methods}
    assert set(RETRIED_METHODS) == methods - {"StreamTokens", "ResumeTokens"}
    assert DESCRIPTOR.services_by_name["TokenStream"].full_name == SERVICE


def test_a_running_generation_needs_a_cancel() -> None:
    """If the caller stops reading, a started generation that has not ended must be cancelled."""
    reading = session()
    assert not reading.needs_cancel
    reading.begin(0.0)
    assert reading.needs_cancel
    reading.receive(started())
    assert reading.needs_cancel
    reading.receive(finished(2))
    assert not reading.needs_cancel


@pytest.mark.parametrize(
    ("error", "needs_cancel"),
    [
        (failure("INVALID_REQUEST", Advice.NEVER, grpc.StatusCode.INVALID_ARGUMENT), False),
        (DeadlineExceededError("Deadline Exceeded", code=grpc.StatusCode.DEADLINE_EXCEEDED), True),
    ],
)
def test_whether_an_error_needs_a_cancel(error: TokenStreamError, needs_cancel: bool) -> None:
    """A rejected call leaves no generation behind. After a local deadline, a generation may still run."""
    reading = session()
    reading.begin(0.0)
    reading.call_ended(error, 0.0)
    assert reading.needs_cancel is needs_cancel


def test_an_unreachable_server_is_not_a_lost_connection() -> None:
    """If no event has ever arrived, the error says that the server is unavailable."""
    reading = session(policy=ResumePolicy(patience=0.0))
    reading.begin(0.0)
    ended = reading.call_ended(UnavailableError("refused", code=grpc.StatusCode.UNAVAILABLE), 0.0)
    assert isinstance(ended, Raise)
    assert not isinstance(ended.error, ConnectionLostError)


class TestAssembler:
    """The assembler turns messages into text, tool calls, usage and the finish."""

    def test_texts_are_kept_apart(self) -> None:
        """Answer, reasoning and refusal are assembled separately."""
        assembler = Assembler(Cursor("g"))
        assembler.add(started())
        message = StreamTokensResponse(sequence=2)
        message.tokens.add(index=0, count=1, reasoning_text="hm")
        message.tokens.add(index=1, count=1, text="yes")
        message.tokens.add(index=2, count=0, text="!")
        message.tokens.add(index=2, count=1, refusal_text="no")
        assembler.add(message)
        assert (assembler.text, assembler.reasoning_text, assembler.refusal_text) == ("yes!", "hm", "no")

    def test_interleaved_tool_calls_are_assembled(self) -> None:
        """Fragments of several tool calls are grouped by their call index, with their opaque bytes."""
        assembler = Assembler(Cursor("g"))
        assembler.add(started())
        message = StreamTokensResponse(sequence=2)
        message.tool_call_fragments.add(call_index=1, id="b", function_name="g", arguments_fragment="{")
        message.tool_call_fragments.add(call_index=0, id="a", function_name="f", arguments_fragment="[")
        message.tool_call_fragments.add(call_index=1, arguments_fragment="}", opaque=b"kept")
        message.tool_call_fragments.add(call_index=0, arguments_fragment="]")
        assembler.add(message)
        assert assembler.tool_calls == (
            input_pb2.ToolCall(id="a", function_name="f", arguments="[]"),
            input_pb2.ToolCall(id="b", function_name="g", arguments="{}", opaque=b"kept"),
        )

    def test_a_missing_token_is_detected(self) -> None:
        """A token that does not follow the previous one is a server error."""
        assembler = Assembler(Cursor("g"))
        assembler.add(token(2, 0))
        with pytest.raises(ServerFailedError, match="gap"):
            assembler.add(token(3, 2))

    def test_a_missing_event_is_detected(self) -> None:
        """An event that is never joined with others must have the next sequence."""
        assembler = Assembler(Cursor("g"))
        assembler.add(token(2, 0))
        with pytest.raises(ServerFailedError, match="gap"):
            assembler.add(finished(4))

    def test_reading_may_begin_anywhere(self) -> None:
        """After a resume, the first index can be any number. From then on, a gap is an error."""
        assembler = Assembler(Cursor("g", 9))
        assert assembler.add(token(10, 8))
        with pytest.raises(ServerFailedError, match="gap"):
            assembler.add(token(11, 10))

    @pytest.mark.parametrize(
        ("reason", "code", "state"),
        [
            (gen.FINISH_REASON_END, 0, gen.GENERATION_STATE_SUCCEEDED),
            (gen.FINISH_REASON_ERROR, 14, gen.GENERATION_STATE_FAILED),
            (gen.FINISH_REASON_CANCELLED, 1, gen.GENERATION_STATE_CANCELLED),
        ],
    )
    def test_finished_sets_the_state(
        self, reason: gen.FinishReason, code: int, state: gen.GenerationState
    ) -> None:
        """The state after `finished` depends on the finish reason and status."""
        assembler = Assembler(Cursor("g"))
        message = finished(1, reason)
        if code:
            message.finished.status.code = code
        assembler.add(message)
        assert assembler.state == state

    def test_events_after_finished_are_discarded(self) -> None:
        """`finished` is the last event."""
        assembler = Assembler(Cursor("g"))
        assembler.add(finished(1))
        assert not assembler.add(token(2, 0))
        assert assembler.text == ""


def test_not_found_of_a_first_resume_is_raised_as_it_is() -> None:
    """If the stream has received nothing, nothing is lost, so the error is not GenerationLostError."""
    reading = session(Plan(cursor=Cursor("g", 3)))
    reading.begin(0.0)
    missing = NotFoundError("gone", reason="GENERATION_NOT_FOUND", advice=Advice.NEVER)
    ended = reading.call_ended(missing, 0.0)
    assert isinstance(ended, Raise)
    assert ended.error is missing
