"""The token ids of a request's input, and of what another engine generated for it before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokengrpc.core.model import Capability
from tokengrpc.core.stopping_text import StoppingText
from tokengrpc.engines.upstream.request_body import ELSEWHERE, unsupported

if TYPE_CHECKING:
    from tokengrpc.core.ports.engine import Continuation
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.engines.vllm.chat_template import ChatTemplate
    from tokengrpc.engines.vllm.model_text import ModelText


@dataclass(frozen=True, slots=True)
class Input:
    """The input as ids: `prompt_ids` is the request's own, `before` what was generated before."""

    prompt_ids: tuple[int, ...]
    before: tuple[int, ...] = ()

    @property
    def ids(self) -> tuple[int, ...]:
        """All that the engine reads."""
        return self.prompt_ids + self.before


def tokenize(
    request: GenerationRequest,
    continuation: Continuation | None,
    text: ModelText,
    capabilities: frozenset[Capability],
) -> Input:
    """Returns the input of a request. Takes time in proportion to the text.

    Raises UnsupportedFeature if the model has no chat template for a conversation, or if the engine cannot
    continue exactly where the output before stopped; InvalidRequest if the template refuses a conversation.
    """
    if continuation is None:
        return Input(_prompt_ids(request, text))
    if continuation.token_ids is None:
        return Input(_ids_with_text(request, continuation, text, capabilities))
    if Capability.CONTINUE_TOKEN_IDS not in capabilities or not continuation.token_ids:
        raise unsupported("continuing another engine's output by token ids", ELSEWHERE)
    prompt_ids = request.prompt_token_ids or continuation.prompt_token_ids or _prompt_ids(request, text)
    return Input(prompt_ids, continuation.token_ids)


def stopping_text(
    request: GenerationRequest, continuation: Continuation | None, text: ModelText
) -> StoppingText | None:
    """Returns the text that is cut at the request's stop sequences; None if it has none."""
    stops = request.sampling.stop_sequences
    if not stops:
        return None
    if continuation is None or continuation.token_ids is None:
        return StoppingText(stops, (), "")
    return StoppingText(stops, map(text.vocabulary.token_bytes, continuation.token_ids), continuation.text)


def _prompt_ids(request: GenerationRequest, text: ModelText) -> tuple[int, ...]:
    if request.prompt_token_ids is not None:
        return request.prompt_token_ids
    if request.messages is not None:
        rendered = _template(text).render(request)
        return tuple(text.vocabulary.encode(rendered, add_special_tokens=False))
    return tuple(text.vocabulary.encode(request.prompt or "", add_special_tokens=True))


def _ids_with_text(
    request: GenerationRequest,
    continuation: Continuation,
    text: ModelText,
    capabilities: frozenset[Capability],
) -> tuple[int, ...]:
    if Capability.CONTINUE_TEXT not in capabilities or not continuation.text:
        raise unsupported("continuing another engine's output", ELSEWHERE)
    if request.messages is not None:
        rendered = _template(text).render_begun(request, continuation.text)
        return tuple(text.vocabulary.encode(rendered, add_special_tokens=False))
    if request.prompt is None:
        raise unsupported("continuing a prompt of token ids by text", ELSEWHERE)
    begun = request.prompt + continuation.text
    return tuple(text.vocabulary.encode(begun, add_special_tokens=True))


def _template(text: ModelText) -> ChatTemplate:
    if text.chat_template is None:
        raise unsupported("a conversation", "a model without a chat template; set chat_template")
    return text.chat_template
