"""Inputs and options of the clients, and the errors for wrong ones."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tokenstreaming.v1 import generation_pb2

from tokengrpc import SyncTokenStreamClient, TokenStreamClient
from tokengrpc.client.names import short_name

# No server listens there.
CLOSED_ADDRESS = "127.0.0.1:1"
OPTIONS = (
    "model, max_tokens, temperature, top_p, top_k, seed, stop, tools, tool_choice, json_schema,"
    " max_engine_switch_count, session_id, priority, labels"
)
METHOD_OPTIONS = {
    "stream": "generation_id, resumable, timeout, on_deadline",
    "generate": "generation_id, timeout, on_deadline",
    "count": "timeout",
}


async def error_of(method: str, *inputs: Any, **options: Any) -> str:
    """Returns the message of a call's TypeError, which must be the same for both clients."""
    with SyncTokenStreamClient(CLOSED_ADDRESS) as blocking, pytest.raises(TypeError) as caught_sync:
        getattr(blocking, method)(*inputs, **options)
    async with TokenStreamClient(CLOSED_ADDRESS) as client:
        with pytest.raises(TypeError) as caught:
            await getattr(client, method)(*inputs, **options)
    assert str(caught.value) == str(caught_sync.value)
    return str(caught.value)


@pytest.mark.parametrize("method", METHOD_OPTIONS)
async def test_an_unknown_option_is_rejected_with_suggestions(method: str) -> None:
    """An unknown option must not be ignored silently. The error names the closest and all allowed options."""
    assert await error_of(method, "x", max_token=3) == (
        f"{method}() has no option max_token; did you mean max_tokens? "
        f"Options are: {METHOD_OPTIONS[method]}, {OPTIONS}; for any other field pass a StreamTokensRequest"
    )
    assert "has no option zzz. Options are: " in await error_of(method, "x", zzz=3)


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("max_output_token_count", "max_tokens"),
        ("max_new_tokens", "max_tokens"),
        ("max_completion_tokens", "max_tokens"),
        ("stop_sequences", "stop"),
        ("time_limit", "timeout"),
        ("timeouts", "timeout"),
    ],
)
async def test_names_of_other_apis_suggest_the_option(name: str, suggested: str) -> None:
    """Field names of the contract and option names of other APIs lead to the option."""
    assert f"has no option {name}; did you mean {suggested}?" in await error_of("stream", "x", **{name: 3})


@pytest.mark.parametrize("client", [TokenStreamClient, SyncTokenStreamClient])
@pytest.mark.parametrize("target", ["http://127.0.0.1:50051", "https://tokens.internal"])
def test_a_url_is_no_target(client: Any, target: str) -> None:
    """GRPC takes it for a name that cannot be resolved, which looks like a server that is down."""
    with pytest.raises(
        ValueError, match=f"target: {target} is a URL; pass host:port, and `credentials` for TLS"
    ):
        client(target)


@pytest.mark.parametrize("name", ["timeout", "temperature", "top_p", "top_k", "seed", "max_tokens"])
async def test_a_text_for_a_number_is_rejected(name: str) -> None:
    """As a web framework passes it that does not convert its parameters. The error names the option."""
    assert re.match(f"{name}: '3' is .*pass .* or None", await error_of("generate", "x", **{name: "3"}))


@pytest.mark.parametrize("method", METHOD_OPTIONS)
@pytest.mark.parametrize("source", [[{"role": "user", "content": "x"}], {"prompt": "x"}, b"x", None])
async def test_an_unsupported_input_is_rejected(method: str, source: Any) -> None:
    """The error names the supported types, before anything is sent."""
    assert await error_of(method, source) == (
        f"the input is a {type(source).__name__}: pass a str, a Conversation or a StreamTokensRequest"
    )


def test_short_name_of_an_unknown_value_is_its_number() -> None:
    """An enum value that only a newer server knows is not an error."""
    assert short_name(generation_pb2.FinishReason, 1, "FINISH_REASON_") == "END"
    assert short_name(generation_pb2.FinishReason, 99, "FINISH_REASON_") == "99"
