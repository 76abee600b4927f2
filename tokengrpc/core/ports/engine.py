"""The ports of engines, which run models, and of tokenizers, which count tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from tokengrpc.core.model import Capability, Delta, UsageReport
    from tokengrpc.core.request import GenerationRequest, Message, Tool


class Tokenizer(Protocol):
    """Counts tokens. A call takes time proportional to the text, so long texts are counted on a thread."""

    @property
    def name(self) -> str:
        """Name of the encoding, such as `o200k_base`."""

    @property
    def exact(self) -> bool:
        """Whether this is the model's own tokenizer, so that its counts are exact."""

    def count(self, text: str) -> int:
        """Returns the number of tokens in a text."""

    def count_input(self, messages: Sequence[Message], tools: Sequence[Tool]) -> int:
        """Returns the number of tokens in a conversation and its tools.

        Includes the tokens that the chat template adds, as far as known.
        """


class Continuation(msgspec.Struct, frozen=True, kw_only=True):
    """Output of another engine from which an engine continues.

    If `token_ids` is None, the engine continues right after `text`, as a prefill of the answer. Otherwise it
    continues after `token_ids`, which are all generated tokens; `text` is the answer that they decode to,
    without an incomplete trailing character. If the ids end within a character, an engine that sends `raw`
    sends the remaining bytes, and an engine that sends text sends the whole character. `prompt_token_ids` is
    the input as the first engine tokenized it, if known.

    The request's `max_output_token_count` is the number of tokens left. The engine reports its own usage: all
    tokens that it reads are input, and the tokens that it adds are output.
    """

    token_ids: tuple[int, ...] | None
    text: str
    prompt_token_ids: tuple[int, ...] | None = None


@runtime_checkable
class Checkable(Protocol):
    """Engine that supports health checks."""

    async def check(self) -> bool | None:
        """Sends a cheap request, such as a GET of the model list. Raises EngineError if it fails.

        Returns False if nothing was checked, because a request would disturb the engine.
        """


class Engine(Protocol):
    """Runs a model. May also be `Checkable` and `ReportsLateUsage`."""

    @property
    def name(self) -> str:
        """Name in the configuration."""

    @property
    def kind(self) -> str:
        """Kind of engine, such as `openai`."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Features that requests may ask for. The engine never gets a request that asks for others."""

    async def start(self) -> None:
        """Loads files or opens clients. Called once, before any request."""

    async def close(self) -> None:
        """Releases all resources. Called once, after the last request."""

    def generate(
        self, request: GenerationRequest, continue_from: Continuation | None = None
    ) -> AsyncGenerator[Sequence[Delta], None]:
        """Runs a request. The consumer closes the generator (`aclosing`), which must stop the engine at once.

        With `continue_from`, continues the output of another engine for the same request. Raises
        UnsupportedFeature if the engine cannot continue it.

        The first batch is empty: it signals that the engine has accepted the request. Each further batch
        contains all deltas of one network read. The last delta has `finish`; no delta follows it.

        Raises only errors of `errors.py`. If the stream ends without the dialect's end mark, raises
        EngineTruncated and yields no `finish`.
        """

    @property
    def healthy(self) -> bool | None:
        """Whether the last request or health check succeeded; None before the first one."""


class Upstream(msgspec.Struct, frozen=True, kw_only=True):
    """What stands behind an engine, for traces and metrics.

    `provider` is a name of OpenTelemetry's `gen_ai.provider.name`, such as `openai`, or another one. `model`
    is the model's name there. `address` is a host, without `port` 0, or the path of a socket; empty if the
    engine runs in this process.
    """

    provider: str
    model: str
    address: str = ""
    port: int = 0


@runtime_checkable
class DescribesUpstream(Protocol):
    """Engine that says what stands behind it."""

    @property
    def upstream(self) -> Upstream | None:
        """The description, which never changes; None if there is none."""


def upstream_of(engine: Engine, model: str) -> Upstream:
    """Returns what stands behind an engine of this model. By default, the engine's kind is the provider."""
    # Not by isinstance, which takes 10 µs with a protocol: every generation needs this several times.
    described: Upstream | None = getattr(engine, "upstream", None)
    return described or Upstream(provider=engine.kind, model=model)


class ReportedLoad(msgspec.Struct, frozen=True, kw_only=True):
    """Load that an engine reported: the number of requests that wait there, whoever sent them."""

    waiting: float


@runtime_checkable
class ReportsLoad(Protocol):
    """Engine that may say how loaded it is."""

    @property
    def reported_load(self) -> ReportedLoad | None:
        """The last report, a new object each time; None if there is none."""


@runtime_checkable
class RereadsSecrets(Protocol):
    """Engine that can take new keys while generations run."""

    def reread_secrets(self) -> None:
        """Reads keys and certificates again, for the requests from now on.

        Raises ConfigError, and keeps the old ones, if one cannot be used.
        """


class LateUsage(Protocol):
    """Takes the final usage of a request whose generator was closed before the engine reported it."""

    async def __call__(self, record_id: str, usage: UsageReport) -> None:
        """Stores the usage. `record_id` is that of the request: the key in the usage ledger."""


@runtime_checkable
class SharesTokenIds(Protocol):
    """Engine whose token ids have the same meaning as those of engines of other kinds."""

    @property
    def id_space(self) -> str:
        """Name of the id space. Engines of a model with the same id space can continue each other's ids."""


def id_space(engine: Engine) -> str:
    """Returns the name of an engine's id space. By default, it is shared by engines of the same kind only."""
    return engine.id_space if isinstance(engine, SharesTokenIds) else engine.kind


@runtime_checkable
class SendsCharacters(Protocol):
    """Engine whose deltas have text, never `raw` alone: it withholds incomplete characters itself."""

    @property
    def sends_characters(self) -> bool:
        """Whether it does."""


def sends_characters(engine: Engine) -> bool:
    """Returns whether what an engine sends ends with a whole character, as far as its own text goes."""
    return isinstance(engine, SendsCharacters) and engine.sends_characters


@runtime_checkable
class ReportsLateUsage(Protocol):
    """Engine that keeps reading a response after its generator was closed, for the usage alone."""

    def on_late_usage(self, report: LateUsage) -> None:
        """Sets the function that takes late usage. Called once, before `start`."""

    def forgo_late_usage(self, record_id: str) -> None:
        """Tells the engine not to wait for late usage: the generator will be closed because of a stall."""
