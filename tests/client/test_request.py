"""What callers pass to the clients: inputs and options, and how wrong ones are told."""

from __future__ import annotations

from typing import Any

import pytest
from tokenstreaming.v1 import generation_pb2

from tokengrpc import SyncTokenStreamClient, TokenStreamClient
from tokengrpc.client.names import short_name

NOWHERE = "127.0.0.1:1"
OPTIONS = (
    "model, max_tokens, temperature, top_p, top_k, seed, stop, tools, tool_choice, json_schema,"
    " max_engine_switch_count, labels"
)
OWN = {
    "stream": "generation_id, resumable, timeout, on_deadline",
    "generate": "generation_id, timeout, on_deadline",
    "count": "timeout",
}


async def error_of(method: str, *inputs: Any, **options: Any) -> str:
    """The TypeError of a call, which is the same for both clients."""
    with SyncTokenStreamClient(NOWHERE) as blocking, pytest.raises(TypeError) as told:
        getattr(blocking, method)(*inputs, **options)
    async with TokenStreamClient(NOWHERE) as client:
        with pytest.raises(TypeError) as caught:
            await getattr(client, method)(*inputs, **options)
    assert str(caught.value) == str(told.value)
    return str(caught.value)


@pytest.mark.parametrize("method", OWN)
async def test_an_unknown_option_is_named_with_the_likely_and_the_allowed_ones(method: str) -> None:
    """It would be an option that is silently not in force."""
    assert await error_of(method, "x", max_token=3) == (
        f"{method}() has no option max_token; did you mean max_tokens? "
        f"Allowed are: {OWN[method]}, {OPTIONS}; for anything else pass a StreamTokensRequest"
    )
    assert "has no option zzz. Allowed are: " in await error_of(method, "x", zzz=3)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("max_output_token_count", "max_tokens"),
        ("max_new_tokens", "max_tokens"),
        ("max_completion_tokens", "max_tokens"),
        ("stop_sequences", "stop"),
        ("time_limit", "timeout"),
        ("timeouts", "timeout"),
    ],
)
async def test_names_of_the_contract_and_of_others_lead_to_the_option(name: str, meant: str) -> None:
    """Those that come to mind first."""
    assert f"has no option {name}; did you mean {meant}?" in await error_of("stream", "x", **{name: 3})


@pytest.mark.parametrize("method", OWN)
@pytest.mark.parametrize("source", [[{"role": "user", "content": "x"}], {"prompt": "x"}, b"x", None])
async def test_another_input_is_refused_with_what_is_taken(method: str, source: Any) -> None:
    """Before anything is sent."""
    assert await error_of(method, source) == (
        f"the input is a {type(source).__name__}: pass a str, a Conversation or a StreamTokensRequest"
    )


def test_a_value_that_only_a_newer_server_knows_is_its_number() -> None:
    """An unknown name is no failure."""
    assert short_name(generation_pb2.FinishReason, 1, "FINISH_REASON_") == "END"
    assert short_name(generation_pb2.FinishReason, 99, "FINISH_REASON_") == "99"
