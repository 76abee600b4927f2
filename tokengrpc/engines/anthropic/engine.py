"""The engine for Anthropic's Messages API, over HTTP and server-sent events."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tokengrpc.core.model import Capability
from tokengrpc.core.request import Reasoning
from tokengrpc.engines.anthropic.events import EventDecoder
from tokengrpc.engines.anthropic.request import Options, encode_request
from tokengrpc.engines.options import read_options
from tokengrpc.engines.upstream.engine import HTTPStreamEngine, UpstreamRequest
from tokengrpc.engines.upstream.request_body import ELSEWHERE, prefilled, unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokengrpc.core.ports.engine import Continuation, Tokenizer
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.engines.anthropic.settings import AnthropicSettings

BASE_URL = "https://api.anthropic.com/v1"

_CAPABILITIES = frozenset(
    {
        Capability.PROMPT,
        Capability.CONVERSATION,
        Capability.TOOLS,
        Capability.IMAGES,
        Capability.REASONING,
        Capability.JSON_SCHEMA,
    }
)


class AnthropicEngine(HTTPStreamEngine):
    """An `Engine` that asks the Messages API. A prompt is sent as a user's message.

    A continuation by text needs a model that goes on with a last message of the assistant, as those up to
    Claude 4.5 do, and has to be declared: newer ones refuse it.
    """

    kind = "anthropic"

    def __init__(self, settings: AnthropicSettings) -> None:
        """Raises ConfigError for options that it does not have."""
        can = settings.capabilities(_CAPABILITIES)
        super().__init__(settings, can, base_url=settings.base_url or BASE_URL)
        self._model = settings.upstream_model or settings.name
        self._options = read_options(settings.name, settings.options, Options)

    def _headers(self, key: str | None) -> Mapping[str, str]:
        headers = {"anthropic-version": self._options.version}
        if key:
            headers["x-api-key"] = key
        if self._options.beta:
            headers["anthropic-beta"] = self._options.beta
        return headers

    def _upstream_request(
        self, request: GenerationRequest, continue_from: Continuation | None
    ) -> UpstreamRequest:
        if continue_from is not None:
            request = self._continued(request, continue_from)
        body = encode_request(request, model=self._model, options=self._options)
        return UpstreamRequest(path="/messages", body=body, decoder=EventDecoder(self.name, self._hide))

    def _continued(self, request: GenerationRequest, before: Continuation) -> GenerationRequest:
        # The API refuses a last message that ends with white space.
        if Capability.CONTINUE_TEXT not in self.capabilities or before.text != before.text.rstrip():
            raise unsupported("what another engine began", ELSEWHERE)
        # Nor does it think when an answer has begun.
        return replace(prefilled(request, before.text), reasoning=Reasoning())


def create(settings: AnthropicSettings, tokenizer: Tokenizer | None) -> AnthropicEngine:  # noqa: ARG001 - all engines' factories are called alike; this one leaves counting to the core
    """Makes the engine of a model; the factory of the entry point `anthropic`."""
    return AnthropicEngine(settings)
