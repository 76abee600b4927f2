"""A generation as a test has told it, and whether its readers, its log and its bill say the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stateful_house import LIMITS

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
    import asyncio

    from stateful_house import Ledger, Reading

    from tokengrpc.request import GenerationRequest
    from tokengrpc.streams.run import Run


@dataclass(eq=False)
class Story:
    """A generation as the test has told it. `first` is the call that began it."""

    request: GenerationRequest
    queue: asyncio.Queue
    opened_at: float
    first: Reading | None = None
    text: str = ""
    arguments: str = ""
    output: int = 0
    calls: int = 0
    deadline: float | None = None
    over: bool = False
    cancelled: bool = False
    readings: list[Reading] = field(default_factory=list)

    @property
    def run(self) -> Run | None:
        return self.first.run if self.first else None


def check_outcome(reading: Reading, *, trims: bool) -> None:
    run, outcome = reading.run, reading.outcome
    if outcome == "left" or run is None:
        return
    truth, ending = run.log.truth, run.generation.ending
    if isinstance(outcome, ReaderTooSlow):
        assert reading.allowed == 0
    elif isinstance(outcome, ReplayExpired):
        assert trims
    elif not isinstance(outcome, StreamDeadlineExceeded):
        assert ending.error is (None if outcome == "ended" else outcome)
        assert reading.cursor == len(truth)
        assert reading.finished == (reading.begin < len(truth))


def check_story(story: Story, run: Run, ledger: Ledger) -> None:
    truth, ending = run.log.truth, run.generation.ending
    text = "".join(token.text for message in truth for token in message.tokens)
    arguments = "".join(f.arguments_fragment for m in truth for f in m.tool_call_fragments)
    if not truth:
        assert ending.error is not None
        return
    last = truth[-1]
    assert last.HasField("finished")
    entry = ledger.closed[run.record_id]
    assert entry.usage.output == last.usage.output_token_count
    assert entry.usage.input == last.usage.input_token_count
    assert entry.finish_reason is ending.reason
    # Of what an engine ended, all has come; of what somebody else ended, the beginning.
    if ending.error is None or isinstance(ending.error, (EngineLost, EngineTruncated, Internal)):
        assert (text, arguments) == (story.text, story.arguments)
        assert last.usage.output_token_count == story.output
    else:
        assert story.text.startswith(text)
        assert story.arguments.startswith(arguments)
        assert last.usage.output_token_count <= story.output


def check_reason(story: Story, run: Run) -> None:
    """It ended by what happened, and by nothing else."""
    error, ended = run.generation.ending.error, run.generation.times.ended / 1e9 - 1e9
    age, detached = ended - story.opened_at + 1e-3, story.request.recovery.detach
    match error:
        case None:
            assert story.over if run.generation.engine_finish else age >= LIMITS.max_time_limit
        case EngineLost() | EngineTruncated() | Internal():
            assert story.over
        case EngineStalled(metadata={"clock": "first_token"}):
            assert age >= LIMITS.first_token_timeout
        case EngineStalled(metadata={"clock": "inter_token"}):
            assert ended - run.log.grown_at + 1e-3 >= LIMITS.inter_token_timeout
        case DetachExpired():
            assert detached
            left = [r.left_at for r in story.readings if r.run is run and r.joined_at < ended]
            assert ended - max(left) + 1e-3 >= LIMITS.detach_ttl
        case DeadlineExceeded():
            assert not detached
            assert story.deadline is not None
        case Cancelled():
            assert story.cancelled or not detached
        case _:
            raise AssertionError(f"it ended by {error!r}")
