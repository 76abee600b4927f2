"""Summaries of a generation and of a chat, in lines that fit a terminal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from tokenstreaming.v1 import generation_pb2, usage_pb2

from tokengrpc.client.names import short_name

if TYPE_CHECKING:
    from tokengrpc.client.progress import Progress


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

    def text(self, width: int) -> str:
        """Formats tokens, usage and its source, time to first token, rate, finish reason and id.

        Lines are broken between these, if they would have more than `width` columns.
        """
        parts = [*self._usage(), *self._cost(), *self._times(), self._finish_reason()]
        parts.append(f"id {self.generation_id}")
        return _joined([tokens(self.usage.output_token_count), *parts], width)

    def _usage(self) -> list[str]:
        parts = _other_counts(self.usage)
        if self.usage.source:
            parts[-1] += f" ({short_source(self.usage.source)})"
        return parts

    def _cost(self) -> list[str]:
        if self.finish is None or not self.finish.HasField("cost"):
            return []
        return [f"cost {money(self.finish.cost.amount_micros, self.finish.cost.currency)}"]

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


def money(micros: int, currency: str) -> str:
    """Formats an amount exactly: with two to six decimals, and its currency."""
    units, rest = divmod(abs(micros), 1_000_000)
    decimals = f"{rest:06}"
    shown = decimals[:2] + decimals[2:].rstrip("0")
    return f"{'-' if micros < 0 else ''}{units}.{shown} {currency}"


@dataclass(slots=True)
class Total:
    """Usage and costs of all generations of a chat so far. `costs` are in millionths, by currency."""

    count: int = 0
    usage: usage_pb2.Usage = field(default_factory=usage_pb2.Usage)
    costs: dict[str, int] = field(default_factory=dict)

    def add(self, summary: Summary) -> None:
        """Adds the usage and the cost of a generation."""
        self.count += 1
        usage, finish = summary.usage, summary.finish
        if finish is not None and finish.HasField("cost"):
            currency = finish.cost.currency
            self.costs[currency] = self.costs.get(currency, 0) + finish.cost.amount_micros
        for name in ("input", "output", "reasoning", "overhead"):
            count = f"{name}_token_count"
            setattr(self.usage, count, getattr(self.usage, count) + getattr(usage, count))

    def text(self, width: int) -> str:
        """Formats the number of answers and their tokens, broken as in `Summary.text`."""
        answers = f"{self.count} answer" if self.count == 1 else f"{self.count} answers"
        output = f"total of {answers}: {tokens(self.usage.output_token_count)}"
        costs = [f"cost {money(micros, currency)}" for currency, micros in sorted(self.costs.items())]
        return _joined([output, *_other_counts(self.usage), *costs], width)


def short_source(source: usage_pb2.UsageSource) -> str:
    """Returns where counts come from: engine, counted or estimated."""
    return short_name(usage_pb2.UsageSource, source, "USAGE_SOURCE_").lower()


def _other_counts(usage: usage_pb2.Usage) -> list[str]:
    """Formats the counts of a usage, without the output."""
    parts = [f"input {usage.input_token_count}"]
    if usage.reasoning_token_count:
        parts.append(f"reasoning {usage.reasoning_token_count}")
    if usage.overhead_token_count:
        parts.append(f"overhead {usage.overhead_token_count}")
    return parts


def _joined(parts: list[str], width: int) -> str:
    """Joins parts with commas, in lines of at most `width` columns if no part is longer."""
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + len(", ") + len(part) > width:
            lines.append(part)
        else:
            lines[-1] += f", {part}"
    return "\n".join(lines)
