"""Builds the request of a call from an input and options."""

from __future__ import annotations

from difflib import get_close_matches
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict

from tokenstreaming.v1 import input_pb2, token_stream_pb2

from tokengrpc.client.conversation import Conversation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from google.protobuf.message import Message

Input = str | Conversation | input_pb2.Conversation | token_stream_pb2.StreamTokensRequest


RequestPriority = Literal["interactive", "standard", "batch"]


class RequestOptions(TypedDict, total=False):
    """Options for the common fields of a request. An unset option means the server's or the engine's default.

    For any other field, pass a complete StreamTokensRequest. Options override its single fields and extend
    its lists and labels.
    """

    model: str
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    seed: int | None
    stop: Sequence[str]
    tools: Sequence[input_pb2.Tool]
    tool_choice: input_pb2.ToolChoice | None
    json_schema: str | None
    max_engine_switch_count: int | None
    session_id: str | None
    priority: RequestPriority | None
    labels: Mapping[str, str] | None


_OPTIONS: Final = tuple(RequestOptions.__annotations__)

_PRIORITIES: Final[Mapping[str, input_pb2.Priority]] = {
    "interactive": input_pb2.PRIORITY_INTERACTIVE,
    "standard": input_pb2.PRIORITY_STANDARD,
    "batch": input_pb2.PRIORITY_BATCH,
}

# Field names of the contract that are too different from the option's name for get_close_matches.
_SYNONYMS: Final = {
    "max_output_token_count": "max_tokens",
    "stop_sequences": "stop",
    "time_limit": "timeout",
}


def build_request(
    source: Input, options: RequestOptions, method: Callable[..., Any]
) -> token_stream_pb2.StreamTokensRequest:
    """Returns a request made of an input and options. The input itself is not modified.

    `method` is the client's method that received them; error messages name it. Raises TypeError for an
    unsupported input and for an unknown option, ValueError for an unknown priority.
    """
    for name in options:
        if name not in _OPTIONS:
            raise TypeError(_unknown_option(name, method))
    request = token_stream_pb2.StreamTokensRequest()
    match source:
        case str():
            request.prompt = source
        case Conversation():
            request.conversation.CopyFrom(source.to_proto())
        case input_pb2.Conversation():
            request.conversation.CopyFrom(source)
        case token_stream_pb2.StreamTokensRequest():
            request.CopyFrom(source)
        case _:
            raise TypeError(
                f"the input is a {type(source).__name__}: pass a str, a Conversation or a StreamTokensRequest"
            )
    _apply_options(request, options)
    return request


def _unknown_option(name: str, method: Callable[..., Any]) -> str:
    parameters = signature(method).parameters.values()
    own = [parameter.name for parameter in parameters if parameter.kind is Parameter.KEYWORD_ONLY]
    allowed = [*own, *_OPTIONS]
    synonym = _SYNONYMS.get(name)
    close = [synonym] if synonym in allowed else get_close_matches(name, allowed, n=1)
    suggestion = f"; did you mean {close[0]}?" if close else "."
    return (
        f"{method.__name__}() has no option {name}{suggestion} Options are: {', '.join(allowed)}; "
        "for any other field pass a StreamTokensRequest"
    )


def _set(message: Message, field: str, value: object, option: str) -> None:
    """Sets a field. Protobuf's own error for a value of another type does not name the option."""
    try:
        setattr(message, field, value)
    except TypeError as error:
        raise TypeError(f"{option}: {value!r} is a {type(value).__name__}; pass a number or None") from error


def _apply_options(request: token_stream_pb2.StreamTokensRequest, options: RequestOptions) -> None:
    request.model = options.get("model") or request.model
    request.session_id = options.get("session_id") or request.session_id
    if (max_tokens := options.get("max_tokens")) is not None:
        _set(request, "max_output_token_count", max_tokens, "max_tokens")
    for name in ("temperature", "top_p", "top_k", "seed"):
        if (value := options.get(name)) is not None:
            _set(request.sampling, name, value, name)
    if stop := options.get("stop"):
        request.sampling.stop_sequences.extend([stop] if isinstance(stop, str) else stop)
    request.tools.extend(options.get("tools") or ())
    if (tool_choice := options.get("tool_choice")) is not None:
        request.tool_choice.CopyFrom(tool_choice)
    if (json_schema := options.get("json_schema")) is not None:
        request.output_constraint.json_schema = json_schema
    if (switches := options.get("max_engine_switch_count")) is not None:
        request.recovery.max_engine_switch_count = switches
    if (priority := options.get("priority")) is not None:
        if priority not in _PRIORITIES:
            raise ValueError(f"priority: {priority!r} is unknown; pass one of {', '.join(_PRIORITIES)}")
        request.priority = _PRIORITIES[priority]
    request.labels.update(options.get("labels") or {})
