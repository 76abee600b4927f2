"""Servers that speak the Messages API: one row per server, with its features.

Most servers ignore fields that they do not know, so a feature that is missing in a server's row is rejected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tokengrpc.core.model import Capability

DialectName = Literal["anthropic", "llamacpp", "litellm", "ollama"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """Features of one kind of server."""

    capabilities: frozenset[Capability]


# Source: anthropic-sdk-python, types/message_create_params.py.
ANTHROPIC = Dialect(
    capabilities=frozenset(
        {
            Capability.PROMPT,
            Capability.CONVERSATION,
            Capability.TOOLS,
            Capability.IMAGES,
            Capability.REASONING,
            Capability.JSON_SCHEMA,
        }
    )
)

# These servers answer requests with `output_config.format` as if it were not there. Tried with llama.cpp's
# server, LiteLLM 1.108 and Ollama 0.17.
_WITHOUT_SCHEMA = Dialect(capabilities=ANTHROPIC.capabilities - {Capability.JSON_SCHEMA})

DIALECTS: dict[DialectName, Dialect] = {
    "anthropic": ANTHROPIC,
    "llamacpp": _WITHOUT_SCHEMA,
    "litellm": _WITHOUT_SCHEMA,
    "ollama": _WITHOUT_SCHEMA,
}
