"""The server as grpcurl sees it, without `.proto` files: what it lists, streams, and reports as errors."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import serving, until
from tests.support.grpcurl import SERVICE, call, grpcurl
from tests.support.toolchains import BUILD_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(BUILD_TIMEOUT + 60)

DETAILS = ("ErrorInfo", "BadRequest", "QuotaFailure", "ResourceInfo", "RetryInfo")
KEYS = {"SEARCH_KEY": "search-secret", "MAIL_KEY": "mail-secret"}
TENANTS = """
[[tenants]]
name = "search"
key_env = "SEARCH_KEY"
max_generations = 1

[[tenants]]
name = "mail"
key_env = "MAIL_KEY"
"""


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    """A server without tenants."""
    with serving("--pace", "40") as server:
        yield server.target


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with two tenants."""
    file: Path = tmp_path_factory.mktemp("config") / "tokengrpc.toml"
    file.write_text(TENANTS, encoding="utf-8")
    with serving("--config", str(file), "--pace", "40", **KEYS) as server:
        yield server.target


def bearer(key: str) -> tuple[str, str]:
    return "-H", f"authorization: Bearer {KEYS[key]}"


def test_services_are_listed(target):
    """The contract's services, health, and both versions of reflection."""
    assert grpcurl("-plaintext", target, "list").out.split() == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        SERVICE,
        "tokenstreaming.v1.UsageService",
    ]


@pytest.mark.parametrize(
    ("symbol", "kind"),
    [
        (SERVICE, "service"),
        (f"{SERVICE}.StreamTokens", "method"),
        ("tokenstreaming.v1.StreamTokensRequest", "message"),
        ("tokenstreaming.v1.GenerationFailure", "message"),
        ("tokenstreaming.v1.Token.text", "field"),
        ("tokenstreaming.v1.FinishReason", "enum"),
        *((f"google.rpc.{name}", "message") for name in DETAILS),
    ],
)
def test_symbols_are_described(target, symbol, kind):
    """Including those of errors, which grpcurl needs to decode a failed call's details."""
    answer = grpcurl("-plaintext", target, "describe", symbol)
    assert answer.out.startswith((f"{symbol} is a {kind}:", f"{symbol} is an {kind}:")), answer.err
    unknown = grpcurl("-plaintext", target, "describe", f"{symbol}.Nonsense")
    assert "Symbol not found" in unknown.err


def test_a_stream_is_complete(target):
    """Indexes without a gap, each message later than the one before, `finished` last with the usage."""
    answer = call(target, "StreamTokens", prompt="What is token streaming?", max_output_token_count=20)
    assert answer.exit_code == 0
    *_, last = answer.messages
    tokens = [token for message in answer.messages for token in message.get("tokens", ())]
    assert "started" in answer.messages[0]
    sequences = [message["sequence"] for message in answer.messages]
    assert sequences == sorted(set(sequences))  # of events that were joined, the last one's
    assert [token.get("index", 0) for token in tokens] == list(range(20))
    assert last["finished"]["finishReason"] == "FINISH_REASON_MAX_TOKENS"
    assert last["usage"]["outputTokenCount"] == 20


def test_a_deadline_delivers_partial_output_and_details(target):
    """`-max-time` is the call's deadline: tokens, `finished` with its usage, then DEADLINE_EXCEEDED."""
    # At temperature 0 the output is always the same, and far longer than this.
    request = {"prompt": "What is token streaming?", "sampling": {"temperature": 0}}
    answer = call(target, "StreamTokens", "-max-time", "1", **request)
    assert answer.exit_code == 64 + 4
    *_, last = answer.messages
    assert last["finished"]["finishReason"] == "FINISH_REASON_DEADLINE"
    assert 0 < last["usage"]["outputTokenCount"] < 100
    assert answer.status["code"] == 4
    assert answer.detail("google.rpc.ErrorInfo")["reason"] == "DEADLINE_EXCEEDED"
    failure = answer.detail("tokenstreaming.v1.GenerationFailure")
    assert failure["usage"] == last["usage"]
    assert (failure["lastSequence"], failure["ended"]) == (last["sequence"], True)
    assert failure["retryAdvice"] == "RETRY_ADVICE_RETRY"


def test_an_invalid_request_names_the_fields(target):
    """As JSON, and in grpcurl's own format."""
    wrong = {"prompt": "x", "max_output_token_count": -1, "sampling": {"temperature": 9}}
    answer = call(target, "StreamTokens", **wrong)
    assert answer.exit_code == 64 + 3
    violations = answer.detail("google.rpc.BadRequest")["field_violations"]
    assert [each["field"] for each in violations] == ["max_output_token_count", "sampling.temperature"]
    assert all(each["description"] for each in violations)
    words = ("-plaintext", "-d", '{"prompt": "x", "sampling": {"temperature": 9}}', target)
    printed = grpcurl(*words, f"{SERVICE}/StreamTokens").err
    assert "Code: InvalidArgument" in printed
    assert '"field": "sampling.temperature"' in printed
    assert '"retryAdvice": "RETRY_ADVICE_NEVER"' in printed


def test_an_unknown_resource_is_named(target):
    """In ResourceInfo."""
    answer = call(target, "GetGeneration", generation_id="nobody")
    assert answer.exit_code == 64 + 5
    assert answer.detail("google.rpc.ResourceInfo")["resource_name"] == "nobody"


def test_metadata_identifies_the_tenant(guarded):
    """Without a key, the call is refused. With a key, only the tenant's own generations are visible."""
    refused = call(guarded, "ListModels")
    assert refused.exit_code == 64 + 16
    assert refused.detail("google.rpc.ErrorInfo")["reason"] == "UNAUTHENTICATED"
    own = {"prompt": "x", "max_output_token_count": 1, "generation_id": "mine"}
    assert call(guarded, "StreamTokens", *bearer("SEARCH_KEY"), **own).exit_code == 0
    assert call(guarded, "GetGeneration", *bearer("SEARCH_KEY"), generation_id="mine").exit_code == 0
    assert call(guarded, "GetGeneration", *bearer("MAIL_KEY"), generation_id="mine").exit_code == 64 + 5


def test_a_tenant_over_its_limit_is_told_when_to_retry(guarded):
    """In QuotaFailure and RetryInfo, which grpcurl decodes."""
    key = bearer("SEARCH_KEY")
    slow = {"prompt": "What is token streaming?", "generation_id": "slow", "sampling": {"temperature": 0}}
    streaming = threading.Thread(target=call, args=(guarded, "StreamTokens", *key), kwargs=slow)
    streaming.start()
    until(lambda: call(guarded, "GetGeneration", *key, generation_id="slow").exit_code == 0, "it runs")
    answer = call(guarded, "StreamTokens", *key, prompt="x")
    assert answer.exit_code == 64 + 8
    assert answer.detail("google.rpc.ErrorInfo")["reason"] == "QUOTA_EXCEEDED"
    assert answer.detail("google.rpc.QuotaFailure")["violations"]
    assert answer.detail("google.rpc.RetryInfo")["retry_delay"]
    assert call(guarded, "CancelGeneration", *key, generation_id="slow").exit_code == 0
    streaming.join(30)
    assert not streaming.is_alive()
