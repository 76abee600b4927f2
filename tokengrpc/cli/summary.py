"""One-line summary of a generation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from tokenstreaming.v1 import generation_pb2, usage_pb2

from tokengrpc.client.names import short_name

if TYPE_CHECKING:
    from tokengrpc.client.progress import Progress

SOURCES = {
    usage_pb2.USAGE_SOURCE_ENGINE: "reported by the engine",
    usage_pb2.USAGE_SOURCE_COUNTED: "counted",
    usage_pb2.USAGE_SOURCE_ESTIMATED: "estimated",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Usage, finish and id of a generation. `finish` is None while the end is not known."""

    generation_id: str
    usage: usage_pb2.Usage
    finish: generation_pb2.Finished | None

    @classmethod
    def of_stream(cls, stream: Progress) -> Self:
        """Returns the summary of what a stream has received."""
        return cls(generation_id=stream.generation_id, usage=stream.usage, finish=stream.finish)

    @classmethod
    def of_generation(cls, generation: generation_pb2.Generation) -> Self:
        """Returns the summary of a generation as the server reports it."""
        finish = generation.finished if generation.HasField("finished") else None
        return cls(generation_id=generation.generation_id, usage=generation.usage, finish=finish)

    def __str__(self) -> str:
        """Formats tokens, usage and its source, time to first token, rate, finish reason and id."""
        parts = [tokens(self.usage.output_token_count), *self._usage(), *self._times(), self._finish_reason()]
        return ", ".join([*parts, f"id {self.generation_id}"])

    def _usage(self) -> list[str]:
        usage = self.usage
        parts = [f"input {usage.input_token_count}"]
        if usage.reasoning_token_count:
            parts.append(f"reasoning {usage.reasoning_token_count}")
        if usage.overhead_token_count:
            parts.append(f"overhead {usage.overhead_token_count}")
        if usage.source in SOURCES:
            parts[-1] += f" ({SOURCES[usage.source]})"
        return parts

    def _times(self) -> list[str]:
        """Returns time to first token and token rate, as the server measured them from the call's arrival."""
        if self.finish is None or not self.finish.timing.HasField("time_to_first_token"):
            return []
        first = self.finish.timing.time_to_first_token.ToTimedelta().total_seconds()
        total = self.finish.timing.total_duration.ToTimedelta().total_seconds()
        count = self.usage.output_token_count
        rate = [f"{(count - 1) / (total - first):.1f} tokens/s"] if count > 1 and total > first else []
        return [f"first after {first * 1e3:.0f} ms", *rate]

    def _finish_reason(self) -> str:
        """Returns the finish reason without the contract's prefix."""
        if self.finish is None:
            return "incomplete"
        return short_name(generation_pb2.FinishReason, self.finish.finish_reason, "FINISH_REASON_")


def tokens(count: int) -> str:
    """Formats a number of tokens, in singular or plural."""
    return f"{count} token" if count == 1 else f"{count} tokens"
