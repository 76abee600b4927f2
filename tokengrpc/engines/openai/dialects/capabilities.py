"""Capabilities: those of a dialect's row, and those that settings may add to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokengrpc.core.model import Capability
from tokengrpc.engines.openai.dialects.row import Api

if TYPE_CHECKING:
    from tokengrpc.engines.openai.dialects.row import Dialect

_C = Capability

# The core may need these for any request, so with `auto` both APIs must have them.
_NEEDED_ON_BOTH_APIS = frozenset({_C.TOKEN_IDS, _C.CONTINUE_TOKEN_IDS, _C.CONTINUE_TEXT})

# What each API has fields for in every dialect. Of `TOKEN_IDS`, the field is `return_token_ids`.
_BOTH = frozenset(
    {_C.PROMPT, _C.REASONING, _C.LOGPROBS, _C.TOKEN_IDS, _C.CONTINUE_TOKEN_IDS, _C.CONTINUE_TEXT}
)
_FIELDS = {
    Api.CHAT: _BOTH | {_C.CONVERSATION, _C.TOOLS, _C.IMAGES, _C.RAW_BYTES},
    Api.COMPLETIONS: _BOTH | {_C.PROMPT_TOKEN_IDS},
}


def capabilities(dialect: Dialect, api: str) -> frozenset[Capability]:
    """Returns the capabilities of a dialect for the setting `api`: auto, chat or completions."""
    chat, completions = dialect.chat.capabilities, dialect.completions.capabilities
    if api == "chat":
        # A continuation by token ids uses the completions API.
        return chat - {_C.CONTINUE_TOKEN_IDS}
    if api == "completions":
        return completions
    if dialect.prompt_api is Api.CHAT:
        completions &= {_C.PROMPT_TOKEN_IDS}
        return chat | completions
    on_both = chat & completions & _NEEDED_ON_BOTH_APIS
    return ((chat | completions) - _NEEDED_ON_BOTH_APIS) | on_both


def encodable(dialect: Dialect, api: Api) -> frozenset[Capability]:
    """Returns the capabilities that a request to this API has fields for."""
    return _FIELDS[api] | {_C(form.upper()) for form in dialect.row(api).constraints}


def used_apis(setting: str) -> tuple[Api, ...]:
    """Returns the APIs that requests go to with the setting `api`: auto, chat or completions."""
    return {"chat": (Api.CHAT,), "completions": (Api.COMPLETIONS,)}.get(setting, (Api.CHAT, Api.COMPLETIONS))
