"""Reads a recorded stream, JSON lines that `tokengrpc stream --record` writes, into the steps of an engine.

The first line is a header. Each further line has `at`, the seconds since the start of the call, and either a
message of the contract as JSON or the failure of a call that had no `finished`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from tokengrpc.core.model import Delta, EngineFinish, FinishReason, ToolCallFragment, TopLogprob, UsageReport

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = 1

# The contract's range of counts, indexes and ids.
_Natural = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]

_FAILURES = frozenset({FinishReason.ERROR, FinishReason.CANCELLED})


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first line. `transcript` is the version of the format."""

    transcript: int
    model: str = ""


class Top(msgspec.Struct):
    """The contract's TopLogprob. JSON writes a non-finite number as a string."""

    text: str = ""
    logprob: float | str = 0.0
    id: _Natural | None = None
    raw_bytes: bytes | None = None


class Token(msgspec.Struct):
    """The contract's Token."""

    count: _Natural = 0
    text: str = ""
    reasoning_text: str = ""
    refusal_text: str = ""
    id: _Natural | None = None
    logprob: float | str | None = None
    top_logprobs: tuple[Top, ...] = ()
    raw_bytes: bytes | None = None
    reasoning_opaque: bytes = b""


class Fragment(msgspec.Struct):
    """The contract's ToolCallFragment."""

    call_index: _Natural = 0
    id: str = ""
    function_name: str = ""
    arguments_fragment: str = ""
    opaque: bytes = b""


class Usage(msgspec.Struct):
    """The contract's Usage."""

    input_token_count: _Natural = 0
    output_token_count: _Natural = 0
    cached_input_token_count: _Natural | None = None
    cache_write_input_token_count: _Natural | None = None
    reasoning_token_count: _Natural | None = None
    source: str = ""


class Detail(msgspec.Struct):
    """A detail of a status. Only the fields of ErrorInfo are read; other details are empty."""

    reason: str = ""
    metadata: dict[str, str] = {}


class Status(msgspec.Struct):
    """A google.rpc.Status."""

    code: int = 0
    message: str = ""
    details: tuple[Detail, ...] = ()


class Finished(msgspec.Struct):
    """The contract's Finished."""

    finish_reason: str = ""
    engine_finish_reason: str = ""
    matched_stop_sequence: str = ""
    status: Status | None = None


class Message(msgspec.Struct):
    """The contract's StreamTokensResponse."""

    tokens: tuple[Token, ...] = ()
    tool_call_fragments: tuple[Fragment, ...] = ()
    usage: Usage | None = None
    started: dict[str, Any] | None = None
    finished: Finished | None = None


class Failure(msgspec.Struct, frozen=True):
    """The failure of a call."""

    reason: str = ""
    message: str = ""
    metadata: dict[str, str] = {}


class Line(msgspec.Struct):
    """A line after the header."""

    at: Annotated[float, msgspec.Meta(ge=0)]
    message: Message | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """An engine's deltas, or its failure, at a time in seconds."""

    at: float
    deltas: tuple[Delta, ...] = ()
    failure: Failure | None = None


def read_recording(data: bytes) -> tuple[Step, ...]:
    """Returns the steps in the order of the file. The last one ends the generation.

    Raises ValueError, with the number of the line, for an invalid recording.
    """
    first, *lines = data.split(b"\n")
    try:
        header = msgspec.json.decode(first, type=Header)
    except msgspec.MsgspecError as error:
        raise ValueError(f"line 1 is not the header of a recording: {error}") from None
    if header.transcript != VERSION:
        raise ValueError(f"line 1: version {header.transcript} is not supported, only {VERSION} is")
    steps: list[Step] = []
    for number, line in enumerate(lines, 2):
        if line.strip():
            try:
                steps += _steps(msgspec.json.decode(line, type=Line))
            except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
                raise ValueError(f"line {number}: {error}") from None
    return tuple(steps) or (_truncated(0.0),)


def _steps(line: Line) -> Iterator[Step]:
    if line.failure is not None:
        yield Step(at=line.at, failure=line.failure)
    message = line.message
    if message is None:
        return
    deltas = tuple(_deltas(message))
    if message.started is not None or deltas:
        yield Step(at=line.at, deltas=deltas)
    if message.finished is not None:
        yield _end(line.at, message.finished, _report(message.usage))


def _end(at: float, finished: Finished, usage: UsageReport | None) -> Step:
    status = finished.status
    if status is not None and status.code:
        info = next((detail for detail in status.details if detail.reason), Detail())
        return Step(at=at, failure=Failure(info.reason, status.message, info.metadata))
    finish = EngineFinish(
        reason=FinishReason(finished.finish_reason.removeprefix("FINISH_REASON_")),
        word=finished.engine_finish_reason,
        matched_stop=finished.matched_stop_sequence,
    )
    if finish.reason in _FAILURES:
        raise ValueError(f"{finished.finish_reason} has no status")
    return Step(at=at, deltas=(Delta(count=0, usage=usage, finish=finish),))


def _truncated(at: float) -> Step:
    return Step(at=at, failure=Failure("ENGINE_TRUNCATED", "the recording is empty"))


def _deltas(message: Message) -> Iterator[Delta]:
    for token in message.tokens:
        yield Delta(
            text=token.text,
            reasoning=token.reasoning_text,
            opaque=token.reasoning_opaque,
            refusal=token.refusal_text,
            count=token.count,
            id=token.id,
            logprob=None if token.logprob is None else float(token.logprob),
            top_logprobs=tuple(
                TopLogprob(t.text, float(t.logprob), t.id, t.raw_bytes) for t in token.top_logprobs
            ),
            raw=token.raw_bytes,
        )
    fragments = tuple(
        ToolCallFragment(
            call_index=fragment.call_index,
            id=fragment.id,
            function_name=fragment.function_name,
            arguments=fragment.arguments_fragment,
            opaque=fragment.opaque,
        )
        for fragment in message.tool_call_fragments
    )
    usage = _report(message.usage)
    if fragments:
        yield Delta(fragments=fragments, usage=usage)
    elif message.tokens and usage is not None:
        yield Delta(count=0, usage=usage)


def _report(usage: Usage | None) -> UsageReport | None:
    """Returns usage that the engine reported. The server counts again what it counted itself."""
    if usage is None or usage.source != "USAGE_SOURCE_ENGINE":
        return None
    return UsageReport(
        input=usage.input_token_count,
        output=usage.output_token_count,
        cached_input=usage.cached_input_token_count,
        cache_write_input=usage.cache_write_input_token_count,
        reasoning=usage.reasoning_token_count,
    )
