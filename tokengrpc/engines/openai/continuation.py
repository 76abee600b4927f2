"""A request that goes on where another engine stopped: by token ids, or by the text so far."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tokengrpc.core.model import Capability
from tokengrpc.core.request import Reasoning
from tokengrpc.engines.openai.dialects import Api
from tokengrpc.engines.upstream.request_body import ELSEWHERE, prefilled, unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokengrpc.core.ports.engine import Continuation
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.engines.openai.dialects import Dialect


@dataclass(frozen=True, slots=True, kw_only=True)
class Continued:
    """What to ask, on which API, with fields on top."""

    request: GenerationRequest
    api: Api
    fields: Mapping[str, Any] = field(default_factory=dict)


def continued(
    request: GenerationRequest,
    before: Continuation,
    api: Api,
    dialect: Dialect,
    capabilities: frozenset[Capability],
) -> Continued:
    """The request that goes on from `before`; `api` is where a new one would go.

    Raises UnsupportedFeature when the engine cannot go on without a seam.
    """
    if before.token_ids is not None:
        ids = _all_ids(request, before) if Capability.CONTINUE_TOKEN_IDS in capabilities else None
        if ids is None:
            # Whoever asks may ask again, with the text alone.
            raise unsupported("token ids that another engine began", ELSEWHERE)
        # The chat template and what it made of the reasoning effort are in the ids.
        plain = replace(request, prompt=None, messages=None, prompt_token_ids=ids, reasoning=Reasoning())
        return Continued(request=plain, api=Api.COMPLETIONS)
    if Capability.CONTINUE_TEXT not in capabilities or not before.text:
        raise unsupported("what another engine began", ELSEWHERE)
    if api is Api.COMPLETIONS:
        if request.prompt is None:
            raise unsupported("token ids that another engine began", ELSEWHERE)
        return Continued(request=replace(request, prompt=request.prompt + before.text), api=api)
    if dialect.prefill_trims and before.text != before.text.rstrip():
        raise unsupported("a text that ends with white space", ELSEWHERE)
    return Continued(request=prefilled(request, before.text), api=api, fields=dialect.prefill)


def _all_ids(request: GenerationRequest, before: Continuation) -> tuple[int, ...] | None:
    """Input and output as ids, where those are all there is to know."""
    prompt = request.prompt_token_ids or before.prompt_token_ids
    if not prompt or not before.token_ids:
        return None
    if request.tools or request.constraint or request.output.raw_bytes:
        return None  # completions neither have fields for them nor take calls apart
    if request.sampling.stop_sequences:
        return None  # they would not be met across the seam
    return (*prompt, *before.token_ids)
