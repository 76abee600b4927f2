"""What the rows of the table have in common: OpenAI's own fields and the names that most servers share."""

from __future__ import annotations

from tokengrpc.core.model import Capability
from tokengrpc.engines.openai.dialects.constraints import as_response_format
from tokengrpc.engines.openai.dialects.row import ApiRow

_C = Capability
_SAMPLING_FIELDS = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "stop_sequences",
    "logit_bias",
)
SAMPLING_NAMES = {name: name for name in _SAMPLING_FIELDS} | {"stop_sequences": "stop"}
OPENAI_NAMES = {k: v for k, v in SAMPLING_NAMES.items() if k not in {"top_k", "min_p", "repetition_penalty"}}
USAGE = {"stream_options": {"include_usage": True}}
USAGE_PER_CHUNK = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}
RETURN_TOKEN_IDS = {"return_token_ids": True}

# Source: openai-python, types/chat/completion_create_params.py and types/completion_create_params.py.
# Sampling also has the names that the other servers share.
CHAT = ApiRow(
    capabilities=frozenset(
        {
            _C.PROMPT,
            _C.CONVERSATION,
            _C.LOGPROBS,
            _C.TOOLS,
            _C.IMAGES,
            _C.REASONING,
            _C.RAW_BYTES,
            _C.JSON_SCHEMA,
        }
    ),
    sampling=SAMPLING_NAMES,
    constraints={"json_schema": as_response_format},
)
COMPLETIONS = ApiRow(
    capabilities=frozenset({_C.PROMPT, _C.PROMPT_TOKEN_IDS, _C.LOGPROBS}), sampling=SAMPLING_NAMES
)
