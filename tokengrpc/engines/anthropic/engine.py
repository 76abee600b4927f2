"""The engine for Anthropic's Messages API over HTTP and server-sent events."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tokengrpc.core.model import Capability
from tokengrpc.core.request import Reasoning
from tokengrpc.engines.anthropic.dialects import DIALECTS
from tokengrpc.engines.anthropic.events import EventDecoder
from tokengrpc.engines.anthropic.request import Options, encode_request
from tokengrpc.engines.options import read_options
from tokengrpc.engines.upstream.engine import HTTPStreamEngine
from tokengrpc.engines.upstream.request_body import ELSEWHERE, prefilled, unsupported
from tokengrpc.engines.upstream.sending import UpstreamRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokengrpc.core.ports.engine import Continuation, Tokenizer
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.engines.anthropic.settings import AnthropicSettings

BASE_URL = "https://api.anthropic.com/v1"


class AnthropicEngine(HTTPStreamEngine):
    """An `Engine` that runs requests on the Messages API. A prompt is sent as a user message.

    A continuation by text needs a model that continues a final assistant message. Models up to Claude 4.5 do
    so; newer ones reject such a message. So CONTINUE_TEXT must be declared in `extra_capabilities`.
    """

    kind = "anthropic"

    def __init__(self, settings: AnthropicSettings) -> None:
        """Creates the engine. Raises ConfigError if `options` does not match `Options`."""
        self._options = read_options(settings.name, settings.options, Options)
        can = settings.capabilities(DIALECTS[self._options.dialect].capabilities)
        super().__init__(
            settings, can, base_url=settings.base_url or BASE_URL, provider=self._options.dialect
        )
        self._model = settings.upstream_model or settings.name
        self._added_fields = settings.body

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
            request = self._continuation_request(request, continue_from)
        body = encode_request(
            request, model=self._model, options=self._options, added_fields=self._added_fields
        )
        return UpstreamRequest(
            path="/messages", body=body, decoder=EventDecoder(self.name, self._hide_for(request))
        )

    def _continuation_request(
        self, request: GenerationRequest, continuation: Continuation
    ) -> GenerationRequest:
        text = continuation.text
        # The API rejects a final message that is empty or ends with white space.
        if Capability.CONTINUE_TEXT not in self.capabilities or not text or text != text.rstrip():
            raise unsupported("continuing another engine's output", ELSEWHERE)
        # The API does not allow thinking together with a prefill.
        return replace(prefilled(request, text), reasoning=Reasoning())


def create(settings: AnthropicSettings, tokenizer: Tokenizer | None) -> AnthropicEngine:  # noqa: ARG001 - all engine factories have the same signature; the core counts this engine's tokens
    """Creates the engine of a model. This is the factory of the entry point `anthropic`."""
    return AnthropicEngine(settings)
