"""What a dialect says about its server: features, field names, and one row for each of the two APIs."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokengrpc.core.model import Capability
    from tokengrpc.core.tenant import Priority
    from tokengrpc.engines.openai.dialects.constraints import ConstraintEncoder


class Api(StrEnum):
    """The two OpenAI APIs. Each value is the path below the base URL."""

    CHAT = "/chat/completions"
    COMPLETIONS = "/completions"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRow:
    """Capabilities and field names of one API of a dialect."""

    capabilities: frozenset[Capability]
    sampling: Mapping[str, str]
    """Maps each supported field of `Sampling` to the server's name for it."""
    max_tokens: str = "max_tokens"
    """Name of the field that limits the number of output tokens."""
    constraints: Mapping[str, ConstraintEncoder] = field(default_factory=dict)
    """Maps each supported form of `OutputConstraint`, such as json_schema or regex, to its encoder."""
    token_id_fields: Mapping[str, Any] = field(default_factory=dict)
    """Fields that request the token ids of the input and the output."""
    min_top_logprobs: int = 0
    """Smallest number of alternatives to request. With fewer, the server returns no logprobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """Features and field names of one kind of server."""

    chat: ApiRow
    completions: ApiRow
    prompt_api: Api = Api.COMPLETIONS
    """The API that receives a prompt when the setting `api` is `auto`."""
    base_fields: Mapping[str, Any] = field(default_factory=dict)
    """Fields of every request, in addition to the model and `stream`."""
    prefill_fields: Mapping[str, Any] = field(default_factory=dict)
    """Fields that make the server continue the last message of a chat if it is an assistant message."""
    trims_prefill: bool = False
    """Whether the server strips trailing white space from that message. Such a text cannot be continued."""
    budget_fields: Mapping[str, Any] | None = None
    """Fields that limit the reasoning tokens, with BUDGET as placeholder; None if there are none."""
    reasoning_fields: tuple[str, ...] = ("reasoning_content", "reasoning")
    """Message fields that carry the reasoning of earlier turns; empty if it is not sent."""
    check_path: str | None = "/models"
    """Path of the health check; None if a request in the background would disturb the server."""
    asks_for_load: bool = False
    """Whether the server may report its load if a request header asks for it."""
    learns_fields: bool = False
    """Whether optional fields that the server refuses are omitted from then on."""
    call_extras: bool = False
    """Whether the server may send extra fields with a tool call that it requires back (Gemini)."""
    fetches_images: bool = True
    """Whether the server fetches images by URI. If not, images must be sent as bytes or data URIs."""
    tool_modes: frozenset[str] = frozenset({"none", "required", "function"})
    """Supported modes of `ToolChoice` besides auto. If `none` is missing, that mode omits the tools."""
    can_disable_parallel_calls: bool = True
    """Whether the server has a field that disables parallel tool calls."""
    logprobs_with_tools: bool = True
    """Whether the server returns logprobs for requests with tools."""
    priorities: Mapping[Priority, int] | None = None
    """Values of the field `priority`, if the server orders its own requests by it; 0 is its default."""
    provider: str = ""
    """The provider in traces and metrics (`gen_ai.provider.name`); empty: the dialect's name."""

    def row(self, api: Api) -> ApiRow:
        """Returns the row of one API."""
        return self.chat if api is Api.CHAT else self.completions


BUDGET = object()
"""Placeholder for the number of tokens in `Dialect.budget_fields`."""
