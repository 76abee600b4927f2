"""The engine for OpenAI-compatible servers over HTTP and server-sent events."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from tokengrpc.engines.openai.chunks.decoder import ChunkDecoder
from tokengrpc.engines.openai.dialects.capabilities import capabilities
from tokengrpc.engines.openai.dialects.table import DIALECTS
from tokengrpc.engines.openai.request.body import choose_api, encode_request
from tokengrpc.engines.openai.request.continuation import ApiRequest, continuation_request
from tokengrpc.engines.openai.request.learned_fields import LearnedFields
from tokengrpc.engines.openai.request.optional_fields import refused_fields
from tokengrpc.engines.upstream.engine import HTTPStreamEngine
from tokengrpc.engines.upstream.load_report import REQUEST_HEADERS
from tokengrpc.engines.upstream.sending import UpstreamRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokengrpc.core.ports.engine import Continuation, Tokenizer
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.engines.openai.settings import OpenAISettings


class OpenAIEngine(HTTPStreamEngine):
    """An `Engine` that runs requests on an OpenAI-compatible server."""

    kind = "openai"
    id_space = "model"  # ids are those of the model's own tokenizer
    sends_characters = True

    def __init__(self, settings: OpenAISettings) -> None:
        self._dialect = DIALECTS[settings.dialect]
        can = settings.capabilities(capabilities(self._dialect, settings.api))
        provider = self._dialect.provider or settings.dialect
        super().__init__(settings, can, base_url=settings.base_url, provider=provider)
        self._check_path = self._dialect.check_path
        self._extra = settings.extra
        self._omitted = LearnedFields(settings.name, frozenset(settings.omit_fields))
        self._api = settings.api
        self._added_fields = settings.body
        self._priorities = (self._dialect.priorities or {}) if settings.pass_priority else {}
        self._model = settings.upstream_model or settings.name

    def _headers(self, key: str | None) -> Mapping[str, str]:
        headers = dict(REQUEST_HEADERS) if self._dialect.asks_for_load else {}
        return headers | ({"Authorization": f"Bearer {key}"} if key else {})

    def _fields_of(self, request: GenerationRequest) -> dict[str, Any]:
        """Returns the field with the request's priority; none for the server's default."""
        priority = self._priorities.get(request.priority)
        return {"priority": priority} if priority else {}

    def _upstream_request(
        self, request: GenerationRequest, continue_from: Continuation | None
    ) -> UpstreamRequest:
        return self._request_without(request, continue_from)

    def _request_without(
        self,
        request: GenerationRequest,
        continue_from: Continuation | None,
        refused: frozenset[str] = frozenset(),
        named: frozenset[str] = frozenset(),
        guess: frozenset[str] = frozenset(),
    ) -> UpstreamRequest:
        """Builds the request without the fields that this engine refuses, and without those in `refused`.

        If the engine accepts this request, the fields in `named` and the last guess are remembered: of
        earlier guesses it is not known whether they matter.
        """
        tools = (tool.name for tool in request.tools)
        decoder = ChunkDecoder(self.name, request.output, self._hide_for(request), tools=tools)
        api = choose_api(self._api, request, self._dialect)
        target = ApiRequest(request=request, api=api)
        if continue_from is not None:
            target = continuation_request(request, continue_from, api, self._dialect, self.capabilities)
        body = encode_request(
            target.request,
            api=target.api,
            dialect=self._dialect,
            model=self._model,
            extra_capabilities=self._extra,
            extra_fields=target.fields,
            omitted=self._omitted.names | refused,
            added_fields=self._fields_of(request) | self._added_fields,
        )

        def repeat(status: int, refusal: bytes) -> UpstreamRequest | None:
            fields, are_named = refused_fields(status, refusal, body)
            fields -= refused  # a field that is still refused comes from `body` or the engine parameters
            if not fields:
                return None
            more = {"named": named | fields} if are_named else {"named": named, "guess": fields}
            return self._request_without(request, continue_from, refused | fields, **more)

        return UpstreamRequest(
            path=target.api.value,
            body=body,
            decoder=decoder,
            repeat=repeat if self._dialect.learns_fields else None,
            on_accepted=partial(self._omitted.learn, named | guess) if refused else None,
        )


def create(settings: OpenAISettings, tokenizer: Tokenizer | None) -> OpenAIEngine:  # noqa: ARG001 - all engine factories have the same signature; the core counts this engine's tokens
    """Creates the engine of a model. This is the factory of the entry point `openai`."""
    return OpenAIEngine(settings)
