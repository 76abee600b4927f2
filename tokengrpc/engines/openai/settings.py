"""Settings of engines that speak OpenAI's API."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from tokengrpc.config.values import FLAG, ConfigError, one_of
from tokengrpc.engines.openai.dialects.capabilities import encodable, used_apis
from tokengrpc.engines.openai.dialects.table import DIALECTS
from tokengrpc.engines.openai.request.optional_fields import OTHER_LIMIT, OptionalField
from tokengrpc.engines.upstream.settings import HttpEngineSettings


class OpenAISettings(HttpEngineSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of an engine that speaks OpenAI's API."""

    api: Annotated[
        Literal["auto", "chat", "completions"],
        Meta(
            description="the engine's API; auto: chat for conversations, completions for prompts",
            extra=FLAG,
        ),
    ] = "auto"
    dialect: Annotated[
        str,
        Meta(
            description="the server whose extensions of the API the engine speaks",
            pattern=one_of(DIALECTS),
            extra=FLAG,
        ),
    ] = "generic"

    pass_priority: Annotated[
        bool,
        Meta(description="whether the engine gets the priority of requests; it must order requests by it"),
    ] = False
    omit_fields: Annotated[
        tuple[OptionalField, ...],
        Meta(description="Optional request fields that the engine refuses and that are not sent"),
    ] = ()

    def __post_init__(self) -> None:
        """Checks that there is a URL, which has no default, and that extra capabilities have fields."""
        super().__post_init__()
        if not self.base_url:
            raise ConfigError("base_url: required for an openai engine, such as http://127.0.0.1:8000/v1")
        if frozenset(OTHER_LIMIT) <= frozenset(self.omit_fields):
            raise ConfigError(
                "omit_fields: max_tokens or max_completion_tokens must be sent; keep one of them"
            )
        dialect = DIALECTS.get(self.dialect)
        if dialect is not None:
            if self.pass_priority and dialect.priorities is None:
                raise ConfigError(f"pass_priority: dialect {self.dialect} has no field for it; remove it")
            self.check_extra_capabilities(
                *(encodable(dialect, api) for api in used_apis(self.api)),
                where=f"dialect {self.dialect} with api {self.api}",
            )
