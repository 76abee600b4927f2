"""Conversion of StreamTokensRequest to GenerationRequest. Checks every bound of the contract, once.

All violations are reported together, each with the path of its field.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import MessageToDict, SerializeToJsonError
from tokenstreaming.v1 import input_pb2

from tokengrpc.core.features import OWNED_ENGINE_PARAMS
from tokengrpc.core.request import (
    GenerationRequest,
    Limits,
    OutputOptions,
    Reasoning,
    Recovery,
    Sampling,
)
from tokengrpc.core.tenant import Priority
from tokengrpc.wire.checks import Checks
from tokengrpc.wire.conversation import messages_of
from tokengrpc.wire.tables import PRIORITIES
from tokengrpc.wire.tools import constraint_of, tool_choice_of, tools_of

if TYPE_CHECKING:
    from tokenstreaming.v1.token_stream_pb2 import ResumeTokensRequest, StreamTokensRequest

MAX_FLUSH_INTERVAL = 1.0
"""Longest `flush_interval`, in seconds."""

GENERATION_ID = re.compile(r"[A-Za-z0-9._~-]{1,128}")
ID_RULE = "must be 1 to 128 characters of [A-Za-z0-9._~-]"
_MAX_STOP_SEQUENCES = 16
_MAX_BIASES = 1024
_MAX_LABELS = 16
_PIECE = 64 * 1024

_SAMPLING_BOUNDS: tuple[tuple[str, float, float], ...] = (
    ("temperature", 0, 2),
    ("top_p", 1e-12, 1),
    ("top_k", 1, 2**31 - 1),
    ("min_p", 0, 1),
    ("presence_penalty", -2, 2),
    ("frequency_penalty", -2, 2),
    ("repetition_penalty", 1e-12, 1e6),
)

_EFFORTS: dict[int, str | None] = {
    input_pb2.REASONING_EFFORT_UNSPECIFIED: None,
    input_pb2.REASONING_EFFORT_NONE: "none",
    input_pb2.REASONING_EFFORT_LOW: "low",
    input_pb2.REASONING_EFFORT_MEDIUM: "medium",
    input_pb2.REASONING_EFFORT_HIGH: "high",
}

_DEADLINE_ACTIONS: dict[int, str | None] = {
    input_pb2.DEADLINE_ACTION_UNSPECIFIED: None,
    input_pb2.DEADLINE_ACTION_FAIL: "fail",
    input_pb2.DEADLINE_ACTION_FINISH_PARTIAL: "partial",
}

_PRIORITIES: dict[int, Priority] = {
    input_pb2.PRIORITY_UNSPECIFIED: Priority.STANDARD,
    **PRIORITIES.back,
}

_DETACH: dict[int, bool] = {
    input_pb2.DISCONNECT_ACTION_UNSPECIFIED: False,
    input_pb2.DISCONNECT_ACTION_CANCEL: False,
    input_pb2.DISCONNECT_ACTION_DETACH: True,
}


# Of messages that are not set. To convert an empty message costs as much as a full one.
_NO_SAMPLING, _NO_REASONING, _NO_OUTPUT = Sampling(), Reasoning(), OutputOptions()
_NO_LIMITS, _NO_RECOVERY = Limits(), Recovery()


def generation_request(message: StreamTokensRequest, *, keep_encoded: bool = False) -> GenerationRequest:
    """Converts a message. Raises InvalidRequest with all violations.

    `keep_encoded` is whether to keep the bytes of all that decides the output, for other servers.
    """
    checks = Checks()
    if message.generation_id:
        checks.that(
            GENERATION_ID.fullmatch(message.generation_id),
            "generation_id",
            ID_RULE,
        )
    checks.that(len(message.session_id) <= 128, "session_id", "must have at most 128 characters")
    if message.HasField("max_output_token_count"):
        checks.bounds("max_output_token_count", message.max_output_token_count, 1, 2**31 - 1)
    kind = message.WhichOneof("input")
    checks.that(kind, "input", "one of prompt, conversation, prompt_token_ids must be set")
    if kind == "prompt":
        checks.that(message.prompt, "prompt", "must not be empty")
    request = GenerationRequest(
        generation_id=message.generation_id,
        model=message.model,
        prompt=message.prompt if kind == "prompt" else None,
        messages=messages_of(message.conversation, checks) if kind == "conversation" else None,
        prompt_token_ids=_token_ids(message, checks) if kind == "prompt_token_ids" else None,
        max_output_token_count=(
            message.max_output_token_count if message.HasField("max_output_token_count") else None
        ),
        sampling=_sampling(message.sampling, checks) if message.HasField("sampling") else _NO_SAMPLING,
        reasoning=_reasoning(message.reasoning, checks) if message.HasField("reasoning") else _NO_REASONING,
        output=_output(message.output, checks) if message.HasField("output") else _NO_OUTPUT,
        tools=tools_of(message, checks),
        tool_choice=tool_choice_of(message, checks),
        constraint=constraint_of(message, checks),
        limits=_limits(message.limits, checks) if message.HasField("limits") else _NO_LIMITS,
        recovery=_recovery(message.recovery, checks) if message.HasField("recovery") else _NO_RECOVERY,
        engine_params=_engine_params(message, checks),
        labels=_labels(message, checks),
        session_id=message.session_id,
        priority=checks.enum("priority", message.priority, _PRIORITIES) or Priority.STANDARD,
        flush_interval=flush_interval(message, checks),
        fingerprint=hashlib.sha256(encoded := _what_decides(message)).digest(),
        encoded=encoded if keep_encoded else b"",
    )
    checks.done()
    return request


def flush_interval(message: StreamTokensRequest | ResumeTokensRequest, checks: Checks) -> float | None:
    """Returns the `flush_interval` of a stream in seconds; None if the request leaves it to the server."""
    seconds = checks.duration("flush_interval", message, zero=True)
    checks.that((seconds or 0.0) <= MAX_FLUSH_INTERVAL, "flush_interval", "must be at most 1 s")
    return seconds


_FOR_DELIVERY = ("priority", "flush_interval")
"""Fields that do not decide the output: when it is made, and how one stream gets it."""


def _what_decides(message: StreamTokensRequest) -> bytes:
    """Returns all that decides the output. Clears the other fields, which have been read."""
    for name in _FOR_DELIVERY:
        message.ClearField(name)
    return message.SerializeToString(deterministic=True)


def _token_ids(message: StreamTokensRequest, checks: Checks) -> tuple[int, ...]:
    sent = message.prompt_token_ids.ids
    checks.that(sent, "prompt_token_ids.ids", "must contain at least one id")
    ids: list[int] = []
    least = 0
    # In pieces, because a call into C holds Python's lock until it ends.
    for at in range(0, len(sent), _PIECE):
        piece = sent[at : at + _PIECE]
        least = min([least, *piece])
        ids += piece
    checks.that(least >= 0, "prompt_token_ids.ids", "must not be negative")
    return tuple(ids)


def _sampling(message: input_pb2.Sampling, checks: Checks) -> Sampling:
    values: dict[str, Any] = {}
    for name, least, most in _SAMPLING_BOUNDS:
        if message.HasField(name):
            values[name] = getattr(message, name)
            checks.bounds(f"sampling.{name}", values[name], least, most)
    stops = message.stop_sequences[:_MAX_STOP_SEQUENCES]
    checks.that(
        len(message.stop_sequences) <= _MAX_STOP_SEQUENCES,
        "sampling.stop_sequences",
        f"must have at most {_MAX_STOP_SEQUENCES} entries",
    )
    for i, stop in enumerate(stops):
        checks.that(1 <= len(stop) <= 256, f"sampling.stop_sequences[{i}]", "must have 1 to 256 characters")
    biases = dict(itertools.islice(message.logit_bias.items(), _MAX_BIASES))
    checks.that(
        len(message.logit_bias) <= _MAX_BIASES,
        "sampling.logit_bias",
        f"must have at most {_MAX_BIASES} entries",
    )
    for token_id, bias in biases.items():
        checks.bounds(f"sampling.logit_bias[{token_id}]", bias, -100, 100)
    return Sampling(
        **values,
        seed=message.seed if message.HasField("seed") else None,
        stop_sequences=tuple(stops),
        logit_bias=biases,
    )


def _reasoning(message: input_pb2.Reasoning, checks: Checks) -> Reasoning:
    budget = message.token_budget if message.HasField("token_budget") else None
    if budget is not None:
        checks.bounds("reasoning.token_budget", budget, 1, 2**31 - 1)
    effort = checks.enum("reasoning.effort", message.effort, _EFFORTS)
    return Reasoning(effort=effort, token_budget=budget)


def _output(message: input_pb2.OutputOptions, checks: Checks) -> OutputOptions:
    count = message.top_logprob_count if message.HasField("top_logprob_count") else None
    if count is not None:
        checks.bounds("output.top_logprob_count", count, 0, 20)
    return OutputOptions(
        top_logprob_count=count,
        token_ids=message.include_token_ids,
        raw_bytes=message.include_raw_bytes,
        omit_reasoning=message.omit_reasoning,
    )


def _limits(message: input_pb2.Limits, checks: Checks) -> Limits:
    return Limits(
        time_limit=checks.duration("limits.time_limit", message),
        first_token_timeout=checks.duration("limits.first_token_timeout", message),
        inter_token_timeout=checks.duration("limits.inter_token_timeout", message),
        connect_timeout=checks.duration("limits.connect_timeout", message),
        deadline_action=checks.enum("limits.deadline_action", message.deadline_action, _DEADLINE_ACTIONS),
        deadline_margin=checks.duration("limits.deadline_margin", message),
    )


def _recovery(message: input_pb2.Recovery, checks: Checks) -> Recovery:
    detach = bool(checks.enum("recovery.disconnect_action", message.disconnect_action, _DETACH))
    checks.bounds("recovery.max_engine_switch_count", message.max_engine_switch_count, 0, 8)
    if message.HasField("detach_ttl"):
        checks.that(detach, "recovery.detach_ttl", "is allowed with DISCONNECT_ACTION_DETACH only")
    return Recovery(
        detach=detach,
        detach_ttl=checks.duration("recovery.detach_ttl", message),
        replay_ttl=checks.duration("recovery.replay_ttl", message),
        max_engine_switch_count=message.max_engine_switch_count,
    )


def _engine_params(message: StreamTokensRequest, checks: Checks) -> dict[str, Any]:
    if not message.HasField("engine_params"):
        return {}
    try:
        params: dict[str, Any] = MessageToDict(message.engine_params)
    except (SerializeToJsonError, ValueError):
        checks.that(False, "engine_params", "must contain finite numbers only")
        return {}
    for key in sorted(params.keys() & OWNED_ENGINE_PARAMS):
        checks.that(False, f"engine_params.{key}", "must be set with a field of this contract")
    return params


def _labels(message: StreamTokensRequest, checks: Checks) -> dict[str, str]:
    if not checks.that(
        len(message.labels) <= _MAX_LABELS, "labels", f"must have at most {_MAX_LABELS} entries"
    ):
        return {}
    for key, value in message.labels.items():
        checks.that(1 <= len(key) <= 63, f"labels[{key[:63]}]", "keys must have 1 to 63 characters")
        checks.that(len(value) <= 256, f"labels[{key[:63]}]", "values must have at most 256 characters")
    return dict(message.labels)
