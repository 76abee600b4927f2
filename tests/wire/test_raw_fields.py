"""Fields are counted in request bytes before they are parsed, however the bytes hide them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.profiles import examples
from tests.support.raw_protobuf import DEAR, field
from tokengrpc.errors import InvalidRequest
from tokengrpc.wire.parsing import parse
from tokengrpc.wire.raw_fields import MAX_FIELDS, MAX_TOP_FIELDS, check_field_count, has_few_fields, head_of

MAX_PARTS = 4096
CALL = {"function_name": "f", "id": "i", "arguments": "{}"}
# What looks like a message with endless numbers, within an unknown group, which the parser skips.
GROUP = b"\xfb\x07" + field(4, field(1, b"\xff" * 30)) + b"\xfc\x07"


def refusal(data: bytes, kind=pb.StreamTokensRequest) -> list[tuple[str, str]]:
    """The violations with which a request is refused before it is parsed."""
    with pytest.raises(InvalidRequest) as refused:
        check_field_count(kind, data)
    return list(refused.value.violations)


@pytest.mark.parametrize("name", [name for name in DEAR if DEAR[name].path is not None])
@pytest.mark.parametrize("prefix", [b"", GROUP], ids=["plain", "behind a group"])
def test_too_many_fields_are_refused_unparsed(name: str, prefix: bytes):
    """The violation names the field in which the limit was exceeded, and the limit."""
    [(path, rule)] = refusal(prefix + DEAR[name].body)
    assert path == DEAR[name].path
    assert str(MAX_FIELDS) in rule


def test_fields_within_another_request_have_its_path():
    """GenerateText and CountTokens wrap the request."""
    [(path, _)] = refusal(field(1, DEAR["empty tools"].body), pb.GenerateTextRequest)
    assert path == "request.tools"


def test_the_count_is_exact():
    """A message, its scalars and its submessages count one each; a packed list counts one."""
    message = pb.StreamTokensRequest(
        model="m",
        prompt_token_ids={"ids": range(1000)},
        tools=[{"name": "a"}, {"name": "b", "strict": True}],
        labels={"key": "value"},
    )
    data, count = message.SerializeToString(), 1 + 2 + 2 + 3 + 3
    assert has_few_fields(pb.StreamTokensRequest, data, count)
    assert not has_few_fields(pb.StreamTokensRequest, data, count - 1)


@pytest.mark.parametrize(
    "message",
    [
        {"messages": [{"role": 2, "text": "t"}] * MAX_PARTS},
        {"messages": [{"role": 2, "parts": [{"text": "t"}] * (MAX_PARTS - 1)}]},
        {
            "messages": [
                {"role": 3, "parts": [{"tool_call": {"function_name": "f", "id": "i", "arguments": "{}"}}]}
            ]
            * 2048
        },
    ],
    ids=["texts", "parts", "tool calls"],
)
def test_the_largest_conversation_is_accepted(message: dict):
    """What the contract allows in a conversation fits, with all its tools and biases."""
    request = pb.StreamTokensRequest(
        conversation=message,
        tools=[{"name": "n", "description": "d", "parameters_json_schema": "{}", "strict": True}] * 128,
        sampling={"logit_bias": dict.fromkeys(range(1024), 1.0)},
    )
    check_field_count(pb.StreamTokensRequest, request.SerializeToString())


def test_the_uppermost_level_has_its_own_limit():
    """So that finding the id and the model takes no time that grows with the request."""
    with pytest.raises(InvalidRequest) as refused:
        head_of(pb.StreamTokensRequest, field(10) * (MAX_TOP_FIELDS + 1))
    [(path, rule)] = refused.value.violations
    assert (path, str(MAX_TOP_FIELDS) in rule) == ("tools", True)


NAMES = st.text(max_size=8)


@examples(500)
@given(st.lists(st.tuples(NAMES, NAMES, NAMES), max_size=3), st.sampled_from(["prompt", "model", "id"]))
def test_the_head_is_what_the_parser_finds(pieces, first: str):
    """Also if the fields come in another order, and several times: the last one counts."""
    parts = [
        {
            "id": pb.StreamTokensRequest(generation_id=name).SerializeToString(),
            "model": pb.StreamTokensRequest(model=model).SerializeToString(),
            "prompt": pb.StreamTokensRequest(prompt=prompt).SerializeToString(),
        }
        for name, model, prompt in pieces
    ]
    data = b"".join(b"".join(part[key] for key in sorted(part, key=lambda k: k != first)) for part in parts)
    parsed = parse(pb.StreamTokensRequest, data)
    head = head_of(pb.StreamTokensRequest, data)
    assert (head.generation_id, head.model) == (parsed.generation_id, parsed.model)
    assert head_of(pb.CountTokensRequest, b"".join(field(1, data) for _ in range(2))) == head


@examples(2000)
@given(st.binary(max_size=80))
def test_any_bytes_can_be_counted(data: bytes):
    """Malformed bytes are left to the parser."""
    check_field_count(pb.StreamTokensRequest, data)
    head_of(pb.GenerateTextRequest, data)


@pytest.mark.parametrize("kind", [pb.GetGenerationRequest, pb.ListModelsRequest, pb.ResumeTokensRequest])
def test_small_requests_have_a_small_limit(kind):
    """No request that carries a few names needs more."""
    with pytest.raises(InvalidRequest) as refused:
        parse(kind, b"\xf8\x07\x01" * 100_000)
    assert "too many fields" in refused.value.violations[0][1]
