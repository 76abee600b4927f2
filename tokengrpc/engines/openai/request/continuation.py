"""Requests that continue another engine's output, by its token ids or by its text."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tokengrpc.core.model import Capability
from tokengrpc.core.request import Reasoning
from tokengrpc.engines.openai.dialects.row import Api
from tokengrpc.engines.upstream.request_body import ELSEWHERE, prefilled, unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokengrpc.core.ports.engine import Continuation
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.engines.openai.dialects.row import Dialect


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequest:
    """A request with the API it is sent to and additional fields of its body."""

    request: GenerationRequest
    api: Api
    fields: Mapping[str, Any] = field(default_factory=dict)


def continuation_request(
    request: GenerationRequest,
    continuation: Continuation,
    api: Api,
    dialect: Dialect,
    capabilities: frozenset[Capability],
) -> ApiRequest:
    """Returns the request that continues another engine's output.

    `api` is the API of the same request without a continuation. Raises UnsupportedFeature if the engine
    cannot continue exactly where the output stopped.
    """
    if continuation.token_ids is not None:
        ids = _all_token_ids(request, continuation) if Capability.CONTINUE_TOKEN_IDS in capabilities else None
        if ids is None:
            # The core may retry with a continuation by text.
            raise unsupported("continuing another engine's output by token ids", ELSEWHERE)
        # The ids already contain the chat template and the effect of the reasoning effort on it.
        by_ids = replace(request, prompt=None, messages=None, prompt_token_ids=ids, reasoning=Reasoning())
        return ApiRequest(request=by_ids, api=Api.COMPLETIONS)
    if Capability.CONTINUE_TEXT not in capabilities or not continuation.text:
        raise unsupported("continuing another engine's output", ELSEWHERE)
    if api is Api.COMPLETIONS:
        if request.prompt is None:
            raise unsupported("continuing a prompt of token ids by text", ELSEWHERE)
        return ApiRequest(request=replace(request, prompt=request.prompt + continuation.text), api=api)
    if dialect.trims_prefill and continuation.text != continuation.text.rstrip():
        raise unsupported("continuing a text that ends with white space", ELSEWHERE)
    return ApiRequest(request=prefilled(request, continuation.text), api=api, fields=dialect.prefill_fields)


def _all_token_ids(request: GenerationRequest, continuation: Continuation) -> tuple[int, ...] | None:
    """Returns the token ids of input and output, or None if they do not represent the whole request."""
    prompt = request.prompt_token_ids or continuation.prompt_token_ids
    if not prompt or not continuation.token_ids:
        return None
    if request.tools or request.constraint or request.output.raw_bytes:
        return None  # the completions API has no fields for these and does not parse tool calls
    if request.sampling.stop_sequences:
        return None  # the server would miss a stop sequence that began before the continuation
    return (*prompt, *continuation.token_ids)
