"""The settings of engines that speak vLLM's gRPC service."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta

from tokengrpc.config.remote import RemoteEngineSettings
from tokengrpc.config.values import FLAG, Bytes, ConfigError


class VllmSettings(RemoteEngineSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of a vllm engine."""

    tokenizer_path: Annotated[
        str,
        Meta(
            description="folder or tokenizer.json of the model; empty: the engine sends its own", extra=FLAG
        ),
    ] = ""
    chat_template: Annotated[
        str,
        Meta(
            description="Jinja file with the chat template; empty: the one beside the tokenizer", extra=FLAG
        ),
    ] = ""
    ca_file: Annotated[
        str, Meta(description="trusted certificates in PEM form; empty: those of the system", extra=FLAG)
    ] = ""
    max_event_bytes: Annotated[
        Bytes, Meta(description="the maximum size of a line or event that an engine sends, in bytes")
    ] = 1 << 20

    def __post_init__(self) -> None:
        """Checks that there is a URL, without a path, and that certificates are for https."""
        super().__post_init__()
        if not self.base_url:
            raise ConfigError("base_url: required for a vllm engine, such as http://127.0.0.1:50051")
        if urlsplit(self.base_url).path.strip("/"):
            raise ConfigError("base_url: no path for a vllm engine, such as http://127.0.0.1:50051")
        if self.ca_file and not self.base_url.startswith("https:"):
            raise ConfigError("ca_file: requires a base_url that begins with https:")
