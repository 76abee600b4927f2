"""Gets what an engine's model needs: its facts from the engine, its files from a folder or the engine."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from smg_vllm import common_pb2
from smg_vllm import vllm_engine_pb2 as pb

from tokengrpc.config import ConfigError
from tokengrpc.engines.vllm.errors import rpc_error
from tokengrpc.engines.vllm.model_text import ModelText, load_text, read_folder, unpack
from tokengrpc.errors import EngineProtocolError
from tokengrpc.extras import MissingExtraError, require

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tokengrpc.engines.vllm.channel import EngineChannel
    from tokengrpc.engines.vllm.settings import VllmSettings

# The largest archive of a tokenizer that is taken.
_MAX_ARCHIVE_BYTES = 256 * 1024 * 1024

# The facts and the archive are there at once where the engine is well.
_SECONDS = 30.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EngineModel:
    """The model that an engine serves.

    `sampling_defaults` are those of its generation config, which vLLM's gRPC service leaves to its callers.
    """

    info: pb.GetModelInfoResponse
    text: ModelText
    sampling_defaults: Mapping[str, Any]


class ModelSource:
    """Loads an engine's model once per connection: an engine that restarts may serve another one."""

    def __init__(self, settings: VllmSettings, channel: EngineChannel, hide: Callable[[str], str]) -> None:
        self._settings = settings
        self._engine = settings.name
        self._channel = channel
        self._hide = hide
        self._text: ModelText | None = None  # of the configured files
        self._lock = asyncio.Lock()
        self._connection = 0
        self._model: EngineModel | None = None

    async def load_files(self) -> None:
        """Loads the files that the settings name. Raises ConfigError, also without the extra `vllm`."""
        try:
            require("vllm", "a vllm engine")
        except MissingExtraError as error:
            raise ConfigError(f"engine {self._engine}: kind: {error}") from None
        if self._settings.tokenizer_path:
            path = self._settings.tokenizer_path
            try:
                self._text = await asyncio.to_thread(self._read, read_folder, path)
            except ValueError as error:
                raise ConfigError(f"engine {self._engine}: tokenizer_path: {path}: {error}") from None

    async def model(self, connection: int) -> EngineModel:
        """Returns the model that the engine serves on this connection.

        Raises EngineUnavailable, and EngineProtocolError if the engine has no usable tokenizer.
        """
        if self._model is not None and connection == self._connection:
            return self._model
        async with self._lock:
            if self._model is None or connection != self._connection:
                self._model = await self._load()
                self._connection = connection
            return self._model

    async def _load(self) -> EngineModel:
        try:
            info = await self._channel.stub.GetModelInfo(
                pb.GetModelInfoRequest(), timeout=_SECONDS, metadata=self._channel.metadata
            )
            if self._model is not None and self._model.info == info:
                return self._model
            text = self._text or await self._fetch_text()
        except grpc.aio.AioRpcError as error:
            raise rpc_error(self._engine, error, self._hide) from error
        served = info.served_model_name or info.model_path
        log.info("connected to the engine", engine=self._engine, model=served)
        return EngineModel(info, text, _sampling_defaults(info))

    async def _fetch_text(self) -> ModelText:
        archive, sha256 = bytearray(), ""
        chunks = self._channel.stub.GetTokenizer(
            common_pb2.GetTokenizerRequest(), timeout=_SECONDS, metadata=self._channel.metadata
        )
        try:
            async for chunk in chunks:
                archive += chunk.data
                sha256 = chunk.sha256
                if len(archive) > _MAX_ARCHIVE_BYTES:
                    break  # the checksum is in the last chunk
            return await asyncio.to_thread(self._read, lambda data: unpack(data, sha256), bytes(archive))
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                raise
            raise self._unusable(self._hide(error.details() or error.code().name)) from error
        except ValueError as error:
            raise self._unusable(str(error)) from error
        finally:
            chunks.cancel()

    def _read(self, read: Callable[[Any], Mapping[str, bytes]], source: object) -> ModelText:
        return load_text(read(source), self._settings.chat_template)

    def _unusable(self, why: str) -> EngineProtocolError:
        return EngineProtocolError(
            f"engine {self._engine} sends no tokenizer that can be used: {why[:200]}; "
            "set tokenizer_path to the model's folder"
        )


def _sampling_defaults(info: pb.GetModelInfoResponse) -> Mapping[str, Any]:
    try:
        defaults = json.loads(info.default_sampling_params_json or "{}")
    except ValueError:
        return {}
    return defaults if isinstance(defaults, dict) else {}
