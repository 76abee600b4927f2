"""Engines and tokenizers: what the core needs of whatever runs a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from tokengrpc.core.model import Capability, Delta, UsageReport
    from tokengrpc.core.request import GenerationRequest, Message, Tool


class Tokenizer(Protocol):
    """Counts text of a model. Calls take time in proportion to the text: long ones belong off the loop."""

    @property
    def name(self) -> str:
        """Such as `o200k_base`."""

    @property
    def exact(self) -> bool:
        """Whether it is the model's own, so that its counts are the model's."""

    def count(self, text: str) -> int:
        """Tokens of a text."""

    def count_input(self, messages: Sequence[Message], tools: Sequence[Tool]) -> int:
        """Tokens of a conversation and its tools, the chat template's own included as far as known."""


class Continuation(msgspec.Struct, frozen=True, kw_only=True):
    """What was generated before, to go on from.

    With `token_ids` None an engine goes on right after `text`, a prefill of the answer. Otherwise after
    `token_ids`, which are all that was generated; `text` is the answer in them as far as it was whole. Where
    the ids end within a character, an engine that tells `raw` tells the rest of its bytes, one that tells
    text the whole character. `prompt_token_ids` is the input as the engine before tokenized it, where known.

    The request's `max_output_token_count` is what is left for the rest. Usage is this engine's own: all that
    it read is input, what it adds is output.
    """

    token_ids: tuple[int, ...] | None
    text: str
    prompt_token_ids: tuple[int, ...] | None = None


@runtime_checkable
class Checkable(Protocol):
    """An engine that can be asked how it is."""

    async def check(self) -> None:
        """A cheap question, such as a GET of its models. Raises EngineError when it does not go well."""


class Engine(Protocol):
    """Runs a model. It may be `Checkable`."""

    @property
    def name(self) -> str:
        """Its name in the configuration."""

    @property
    def kind(self) -> str:
        """What it speaks, such as `openai`."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What requests may ask of it. Requests that ask for more never reach it."""

    async def start(self) -> None:
        """Loads what it needs. Called once, before any request."""

    async def close(self) -> None:
        """Releases what it holds. Called once, after the last request."""

    def generate(
        self, request: GenerationRequest, continue_from: Continuation | None = None
    ) -> AsyncGenerator[Sequence[Delta], None]:
        """Runs a request; its consumer closes it (`aclosing`), which must stop the engine at once.

        With `continue_from`, goes on from what another engine generated for the request; UnsupportedFeature
        where it cannot.

        The first batch is empty and says that the engine has accepted the request. Each further one holds
        all deltas that one network read brought. The last delta has `finish`, and nothing follows it.

        Raises only errors of `errors.py`. An end without the dialect's own end mark is EngineTruncated,
        never a finish.
        """

    @property
    def healthy(self) -> bool | None:
        """How the last contact went; None when there was none."""


class LateUsage(Protocol):
    """Takes what an engine told of a generation that had been closed before: its final usage."""

    async def __call__(self, record_id: str, usage: UsageReport) -> None:
        """`record_id` is the request's: the key in the ledger."""


@runtime_checkable
class ReportsLateUsage(Protocol):
    """An engine that reads on after its generator was closed, for the usage alone."""

    def on_late_usage(self, report: LateUsage) -> None:
        """Sets the function that takes the usage. Called once, before `start`."""

    def forgo_late_usage(self, record_id: str) -> None:
        """The generator of this request is about to be closed for its silence: do not wait for usage."""
