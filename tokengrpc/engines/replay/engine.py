"""The engine that replays a recorded stream, with its own timing: for demos, tests and bug reports.

It takes any request and says what was recorded, whatever was asked. `tokengrpc stream --record FILE` makes a
recording.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from tokengrpc.config import ConfigError
from tokengrpc.core.model import Capability
from tokengrpc.engines.options import read_options
from tokengrpc.engines.replay.recording import read_transcript
from tokengrpc.engines.upstream.request_body import unsupported
from tokengrpc.errors import EngineAborted, EngineError, EngineUnavailable, TokenGrpcError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from tokengrpc.core.model import Delta
    from tokengrpc.core.ports.engine import Continuation, Tokenizer
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.engines.replay.recording import Failure, Step
    from tokengrpc.engines.replay.settings import ReplaySettings

_CONTINUES = frozenset({Capability.CONTINUE_TOKEN_IDS, Capability.CONTINUE_TEXT})

_FILE_BYTES = 64 * 1024 * 1024


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The engine's own settings. `speed` 2 is twice as fast as it was, 0 without any waiting."""

    file: str = ""
    speed: Annotated[float, msgspec.Meta(ge=0, le=1_000_000)] = 1.0

    def __post_init__(self) -> None:
        """Checks that there is a recording; no flag names one."""
        if not self.file:
            raise ConfigError(
                "file: required: a recording's path; write options = { file = … } in the settings file"
            )


class ReplayEngine:
    """An `Engine` over a recording."""

    kind = "replay"

    def __init__(self, settings: ReplaySettings) -> None:
        """Raises ConfigError for options that it does not have."""
        self.name = settings.name
        self.capabilities = settings.capabilities(frozenset(Capability) - _CONTINUES)
        self._options = read_options(settings.name, settings.options, Options)
        self._steps: tuple[Step, ...] = ()

    @property
    def healthy(self) -> bool | None:
        """True once the recording is read; it cannot fail after that."""
        return bool(self._steps) or None

    async def start(self) -> None:
        """Reads the recording, off the loop. Raises ConfigError when it cannot."""
        self._steps = await asyncio.to_thread(self._read)

    async def close(self) -> None:
        """Forgets the recording."""
        self._steps = ()

    async def generate(
        self,
        request: GenerationRequest,  # noqa: ARG002 - whatever is asked, the recording is the answer
        continue_from: Continuation | None = None,
    ) -> AsyncGenerator[Sequence[Delta], None]:
        """Replays it: accepts when the recorded engine did, and ends or fails as that did."""
        if continue_from is not None:
            raise unsupported("what another engine began", "a recording; it can only be replayed whole")
        if not self._steps:
            raise EngineUnavailable(f"engine {self.name} is not started; wait until the server is ready")
        loop = asyncio.get_running_loop()
        begin, accepted = loop.time(), False
        for step in self._steps:
            await asyncio.sleep(begin + self._after(step.at) - loop.time())
            if step.failure is not None:
                raise self._error(step.failure)
            if not accepted:
                accepted = True
                yield ()
            if step.deltas:
                yield step.deltas

    def _after(self, at: float) -> float:
        return at / self._options.speed if self._options.speed else 0.0

    def _error(self, failure: Failure) -> TokenGrpcError:
        kinds: dict[str, type[EngineError]] = {kind.reason: kind for kind in EngineError.__subclasses__()}
        kind = kinds.get(failure.reason, EngineAborted)
        what = failure.message or failure.reason or "the recording failed"
        return kind(f"replayed by engine {self.name}: {what}", metadata=failure.metadata)

    def _read(self) -> tuple[Step, ...]:
        where = f"engine {self.name}: options.file: {self._options.file}"
        try:
            with Path(self._options.file).open("rb") as file:
                data = file.read(_FILE_BYTES + 1)
        except OSError as error:
            raise ConfigError(f"{where} cannot be read: {error.strerror}") from None
        if len(data) > _FILE_BYTES:
            raise ConfigError(f"{where} is larger than {_FILE_BYTES >> 20} MiB, the most that is read")
        try:
            return read_transcript(data)
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from None


def create(settings: ReplaySettings, tokenizer: Tokenizer | None) -> ReplayEngine:  # noqa: ARG001 - all engines' factories are called alike; a recording has its counts
    """Makes the engine of a model; the factory of the entry point `replay`."""
    return ReplayEngine(settings)
