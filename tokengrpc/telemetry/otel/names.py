"""Names of OpenTelemetry's semantic conventions that spans and metrics use.

`rpc.*` is stable (conventions 1.45). `gen_ai.*` is in development: the names are those of the GenAI
conventions 0.1. What they do not name begins with `tokengrpc.`. They are written here because the package
`opentelemetry-semantic-conventions` has older ones.
"""

from __future__ import annotations

from tokengrpc.core.model import FinishReason

RPC_SYSTEM = "rpc.system.name"
RPC_METHOD = "rpc.method"
RPC_STATUS = "rpc.status_code"
ERROR_TYPE = "error.type"
PEER_ADDRESS = "network.peer.address"
PEER_PORT = "network.peer.port"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
STREAM = "gen_ai.request.stream"
RESPONSE_ID = "gen_ai.response.id"
RESPONSE_MODEL = "gen_ai.response.model"
FINISH_REASONS = "gen_ai.response.finish_reasons"
TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"

MODEL = "tokengrpc.model"
ENGINE = "tokengrpc.engine"
TENANT = "tokengrpc.tenant"
GENERATION_ID = "tokengrpc.generation.id"
OPENING = "tokengrpc.stream.opening"
REASON = "tokengrpc.error.reason"
CAUSE = "tokengrpc.attempt.cause"
OUTCOME = "tokengrpc.attempt.outcome"
FINISH_REASON = "tokengrpc.finish_reason"

GATEWAY = "tokengrpc"
"""The provider of the metrics `gen_ai.server.*`, which see this server as its callers do."""

PARAMETERS = {
    "output_type": "gen_ai.output.type",
    "max_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "seed": "gen_ai.request.seed",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "reasoning_effort": "gen_ai.request.reasoning.level",
}
"""Attributes of an attempt's span, by the field of `RequestParameters`. Stop sequences are left out: they
are text of the caller."""

USAGE = {
    "input": "usage.input_tokens",
    "output": "usage.output_tokens",
    "cached_input": "usage.cache_read.input_tokens",
    "cache_write_input": "usage.cache_write.input_tokens",
    "reasoning": "usage.reasoning.output_tokens",
}
"""Endings of attributes (`gen_ai.`) and metrics (`gen_ai.client.inference.`), by the field of a usage."""

FINISH_WORDS = {
    FinishReason.END: "stop",
    FinishReason.STOP_SEQUENCE: "stop",
    FinishReason.MAX_TOKENS: "length",
    FinishReason.CONTEXT_LENGTH: "length",
    FinishReason.TOOL_CALLS: "tool_calls",
    FinishReason.CONTENT_FILTER: "content_filter",
    FinishReason.REFUSAL: "refusal",
}
"""Finish reasons as providers write them. Others are written in lower case."""

SERVER_ERRORS = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)
"""Status codes that are errors of a server. With the others, the caller made a mistake or left."""


def finish_word(reason: FinishReason) -> str:
    """Returns a finish reason as providers write it."""
    return FINISH_WORDS.get(reason, reason.value.lower())
