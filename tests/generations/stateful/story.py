"""A generation's story, as a test directed it. Checks its readers, its log and its usage record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.generations.stateful.house import LIMITS, text_of
from tokengrpc.errors import (
    Cancelled,
    DeadlineExceeded,
    DetachExpired,
    EngineLost,
    EngineStalled,
    EngineTruncated,
    Internal,
    ReaderTooSlow,
    ReplayExpired,
    StreamDeadlineExceeded,
)

if TYPE_CHECKING:
    from tokenstreaming.v1 import token_stream_pb2 as pb

    from tests.generations.stateful.house import Handed, Ledger, Reading
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.generations.task import GenerationTask


@dataclass(eq=False)
class Story:
    """The story of one generation. `first` is the call that started it."""

    request: GenerationRequest
    handed: Handed
    opened_at: float
    first: Reading | None = None
    calls: int = 0
    deaths: int = 0
    deadline: float | None = None
    over: bool = False
    cancelled: bool = False
    readings: list[Reading] = field(default_factory=list)

    @property
    def task(self) -> GenerationTask | None:
        return self.first.task if self.first else None


def check_outcome(reading: Reading, *, trims: bool) -> None:
    task, outcome = reading.task, reading.outcome
    if not reading.call.cancelled() and reading.call.exception() is not None:
        raise reading.call.exception()
    if outcome == "left" or task is None:
        return
    truth, termination = task.subscribers.buffer.truth, task.generation.termination
    if isinstance(outcome, ReaderTooSlow):
        assert reading.allowed == 0
    elif isinstance(outcome, ReplayExpired):
        assert trims
    elif not isinstance(outcome, StreamDeadlineExceeded):
        assert termination.error is (None if outcome == "ended" else outcome)
        assert reading.cursor == len(truth)
        assert reading.finished == (reading.begin < len(truth))


def check_story(story: Story, task: GenerationTask, ledger: Ledger) -> None:
    truth, termination = task.subscribers.buffer.truth, task.generation.termination
    text, handed = text_of(truth), story.handed
    arguments = "".join(f.arguments_fragment for m in truth for f in m.tool_call_fragments)
    if not truth:
        assert termination.error is not None
        return
    last = truth[-1]
    assert last.HasField("finished")
    attempts = task.snapshot().attempts
    assert len(attempts) == handed.attempts
    assert all(attempt.ended >= attempt.began for attempt in attempts)
    assert sum(attempt.output for attempt in attempts) == last.usage.output_token_count
    assert bool(attempts[-1].error_reason) == (termination.error is not None)
    entry = ledger.closed[task.request.record_id]
    assert entry.usage.output == last.usage.output_token_count
    assert entry.usage.input == last.usage.input_token_count
    assert entry.finish_reason is termination.reason
    # If the engine ended the generation, all output has arrived; otherwise a prefix of it.
    if termination.error is None or isinstance(termination.error, (EngineLost, EngineTruncated, Internal)):
        assert (text, arguments) == (handed.text, handed.arguments)
        if handed.attempts == 1:
            assert last.usage.output_token_count == handed.output
    else:
        assert handed.text.startswith(text)
        assert handed.arguments.startswith(arguments)
        assert last.usage.output_token_count <= handed.output
    check_switches(story, truth)


def check_switches(story: Story, truth: list[pb.StreamTokensResponse]) -> None:
    """Checks that switches are allowed and never follow a tool-call fragment.

    Repeated prefills are overhead.
    """
    switches = [at for at, message in enumerate(truth) if message.HasField("engine_switched")]
    assert len(switches) <= story.request.recovery.max_engine_switch_count
    assert len(switches) < story.handed.attempts
    for at in switches:
        assert not any(message.tool_call_fragments for message in truth[:at])
        assert truth[at].usage.overhead_token_count > 0
    if not story.handed.told_usage:
        counted = sum(token.count for message in truth for token in message.tokens)
        counted += sum(len(message.tool_call_fragments) for message in truth)
        assert truth[-1].usage.output_token_count >= counted
    overheads = [message.usage.overhead_token_count for message in truth]
    assert overheads == sorted(overheads)


def check_reason(story: Story, task: GenerationTask) -> None:
    """Checks that the generation ended for a reason that occurred."""
    error, ended = task.generation.termination.error, task.generation.timestamps.ended / 1e9 - 1e9
    age, detached = ended - story.opened_at + 1e-3, story.request.recovery.detach
    match error:
        case None:
            assert story.over if task.generation.engine_finish else age >= LIMITS.max_time_limit
        case EngineLost() | EngineTruncated() | Internal():
            assert story.deaths
        case EngineStalled(metadata={"clock": "first_token"}):
            assert age >= LIMITS.first_token_timeout
        case EngineStalled(metadata={"clock": "inter_token"}):
            assert ended - task.subscribers.buffer.grown_at + 1e-3 >= LIMITS.inter_token_timeout
        case DetachExpired():
            assert detached
            left = [r.left_at for r in story.readings if r.task is task and r.joined_at < ended]
            assert ended - max(left) + 1e-3 >= LIMITS.detach_ttl
        case DeadlineExceeded():
            assert not detached
            assert story.deadline is not None
        case Cancelled():
            assert story.cancelled or not detached
        case _:
            raise AssertionError(f"it ended by {error!r}")
