"""The engine that replays a recorded stream with its original timing: for demos, tests and bug reports.

It accepts any request and always returns the recorded output. `tokengrpc stream --record FILE` makes a
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
from tokengrpc.engines.replay.recording import read_recording
from tokengrpc.engines.upstream.request_body import unsupported
from tokengrpc.errors import EngineAborted, EngineError, EngineUnavailable, TokenGrpcError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from tokengrpc.core.model import Delta
    from tokengrpc.core.ports.engine import Continuation, Tokenizer
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.engines.replay.recording import Failure, Step
    from tokengrpc.engines.replay.settings import ReplaySettings

_CONTINUATIONS = frozenset({Capability.CONTINUE_TOKEN_IDS, Capability.CONTINUE_TEXT})

_FILE_BYTES = 64 * 1024 * 1024


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The engine's own settings. `speed` is a factor: 2 replays twice as fast, 0 without delays."""

    file: str = ""
    speed: Annotated[float, msgspec.Meta(ge=0, le=1_000_000)] = 1.0

    def __post_init__(self) -> None:
        """Checks that `file` is set. There is no flag for it, so the message names the settings file."""
        if not self.file:
            raise ConfigError(
                "file: required: a recording's path; write options = { file = … } in the settings file"
            )


class ReplayEngine:
    """An `Engine` that replays a recording."""

    kind = "replay"

    def __init__(self, settings: ReplaySettings) -> None:
        """Raises ConfigError for invalid options."""
        self.name = settings.name
        self.capabilities = settings.capabilities(frozenset(Capability) - _CONTINUATIONS)
        self._options = read_options(settings.name, settings.options, Options)
        self._steps: tuple[Step, ...] = ()

    @property
    def healthy(self) -> bool | None:
        """True once the recording has been read, as the engine cannot fail after that; None before."""
        return bool(self._steps) or None

    async def start(self) -> None:
        """Reads the recording on a thread. Raises ConfigError if the file cannot be read or is invalid."""
        self._steps = await asyncio.to_thread(self._read)

    async def close(self) -> None:
        """Discards the recording."""
        self._steps = ()

    async def generate(
        self,
        request: GenerationRequest,  # noqa: ARG002 - the recording answers any request
        continue_from: Continuation | None = None,
    ) -> AsyncGenerator[Sequence[Delta], None]:
        """Replays the recording. Accepts, ends or fails when the recorded engine did.

        Raises UnsupportedFeature for a continuation.
        """
        if continue_from is not None:
            raise unsupported(
                "continuing another engine's output", "a recording, which is always replayed from its start"
            )
        if not self._steps:
            raise EngineUnavailable(f"engine {self.name} is not started; wait until the server is ready")
        loop = asyncio.get_running_loop()
        start_time, accepted = loop.time(), False
        for step in self._steps:
            await asyncio.sleep(start_time + self._scaled(step.at) - loop.time())
            if step.failure is not None:
                raise self._error(step.failure)
            if not accepted:
                accepted = True
                yield ()
            if step.deltas:
                yield step.deltas

    def _scaled(self, at: float) -> float:
        return at / self._options.speed if self._options.speed else 0.0

    def _error(self, failure: Failure) -> TokenGrpcError:
        kinds: dict[str, type[EngineError]] = {kind.reason: kind for kind in EngineError.__subclasses__()}
        kind = kinds.get(failure.reason, EngineAborted)
        cause = failure.message or failure.reason or "the recorded call failed"
        return kind(f"replayed by engine {self.name}: {cause}", metadata=failure.metadata)

    def _read(self) -> tuple[Step, ...]:
        where = f"engine {self.name}: options.file: {self._options.file}"
        try:
            with Path(self._options.file).open("rb") as file:
                data = file.read(_FILE_BYTES + 1)
        except OSError as error:
            raise ConfigError(f"{where} cannot be read: {error.strerror}") from None
        if len(data) > _FILE_BYTES:
            raise ConfigError(f"{where} is larger than {_FILE_BYTES >> 20} MiB: use a shorter recording")
        try:
            return read_recording(data)
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from None


def create(settings: ReplaySettings, tokenizer: Tokenizer | None) -> ReplayEngine:  # noqa: ARG001 - all engine factories have the same arguments; a recording contains its counts
    """Creates a model's engine; the factory of the entry point `replay`."""
    return ReplayEngine(settings)
