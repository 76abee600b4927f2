"""Failed calls become typed errors, decoded from the trailers and formatted in one line."""

from __future__ import annotations

import json
import pickle
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from tokenstreaming.v1 import generation_pb2, usage_pb2

import tokengrpc
from tests.support.paths import ROOT
from tokengrpc import client, errors
from tokengrpc.client.errors import (
    GenerationCancelledError,
    InvalidRequestError,
    QuotaError,
    ServerFailedError,
    TokenStreamError,
    UnavailableError,
)
from tokengrpc.client.local_errors import connection_lost, generation_lost
from tokengrpc.client.status import CLASS_OF_CODE, CLASS_OF_REASON, from_rpc_error, from_status
from tokengrpc.client.texts import TEXTS
from tokengrpc.errors import Advice

DETAILS_KEY = "grpc-status-details-bin"


def rich_status(code: grpc.StatusCode, message: str, *details: Any) -> status_pb2.Status:
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        status.details.add().Pack(detail)
    return status


def rpc_error(status: status_pb2.Status, trailers: bytes | None = None) -> grpc.aio.AioRpcError:
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    encoded = status.SerializeToString() if trailers is None else trailers
    return grpc.aio.AioRpcError(
        code, trailing_metadata=grpc.aio.Metadata((DETAILS_KEY, encoded)), details=status.message
    )


def reasons(tree: type[errors.TokenGrpcError]) -> set[str]:
    """Returns all reasons in a tree of server errors."""
    return {tree.reason}.union(*(reasons(branch) for branch in tree.__subclasses__()))


def test_every_reason_of_the_server_has_a_class() -> None:
    """The table contains each reason of the error tree, and no others."""
    assert set(CLASS_OF_REASON) == reasons(errors.TokenGrpcError)


def test_every_code_has_a_class() -> None:
    """Failures without a reason get their class from their code."""
    assert set(CLASS_OF_CODE) == set(grpc.StatusCode) - {grpc.StatusCode.OK}


@pytest.mark.parametrize(("reason", "kind"), CLASS_OF_REASON.items())
def test_a_reason_decides_the_class(reason: str, kind: type[TokenStreamError]) -> None:
    """The reason decides the class, whatever the code is."""
    info = error_details_pb2.ErrorInfo(domain="tokengrpc", reason=reason)
    error = from_status(rich_status(grpc.StatusCode.UNAVAILABLE, "no", info))
    assert type(error) is kind
    assert error.reason == reason


@pytest.mark.parametrize(("code", "kind"), CLASS_OF_CODE.items())
def test_a_code_decides_without_a_reason(code: grpc.StatusCode, kind: type[TokenStreamError]) -> None:
    """Errors of the gRPC library itself become typed errors, too."""
    error = from_rpc_error(grpc.aio.AioRpcError(code, details="said by the library"))
    assert type(error) is kind
    assert (error.code, error.reason, error.advice) == (code, "", None)


def test_all_details_are_decoded() -> None:
    """Advice, usage, cursor, `ended`, retry delay and reason are decoded."""
    usage = usage_pb2.Usage(output_token_count=5)
    status = rich_status(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "the tenant has 8 generations under way, its limit",
        error_details_pb2.ErrorInfo(domain="tokengrpc", reason="QUOTA_EXCEEDED"),
        generation_pb2.GenerationFailure(
            generation_id="g",
            last_sequence=4,
            usage=usage,
            retry_advice=generation_pb2.RETRY_ADVICE_RETRY,
            ended=True,
        ),
        error_details_pb2.RetryInfo(retry_delay={"seconds": 1, "nanos": 500_000_000}),
    )
    error = from_rpc_error(rpc_error(status))
    assert isinstance(error, QuotaError)
    assert (error.advice, error.last_sequence, error.usage, error.ended, error.generation_id) == (
        Advice.RETRY,
        4,
        usage,
        True,
        "g",
    )
    assert error.retry_delay == 1.5
    assert str(error) == (
        "QUOTA_EXCEEDED: the tenant has 8 generations under way, its limit; "
        "retry in 1.5 s under a new id (tokens generated so far are billed)"
    )


def test_violations_are_decoded() -> None:
    """An InvalidRequestError lists the wrong fields and the mistakes."""
    bad = error_details_pb2.BadRequest(
        field_violations=[{"field": "sampling.temperature", "description": "is 3; 0 to 2 is allowed"}]
    )
    info = error_details_pb2.ErrorInfo(domain="tokengrpc", reason="INVALID_REQUEST")
    error = from_status(rich_status(grpc.StatusCode.INVALID_ARGUMENT, "bad", info, bad))
    assert isinstance(error, InvalidRequestError)
    assert error.violations == (("sampling.temperature", "is 3; 0 to 2 is allowed"),)


@pytest.mark.parametrize("trailers", [b"\xff\xff\xff", b"", b"\x08\x05"])
def test_malformed_trailers_are_ignored(trailers: bytes) -> None:
    """If a proxy damages the trailers, the failure is still reported."""
    error = from_rpc_error(rpc_error(rich_status(grpc.StatusCode.UNAVAILABLE, "gone"), trailers))
    assert isinstance(error, UnavailableError)
    assert error.message == "gone"


def test_unknown_details_and_reasons_are_ignored() -> None:
    """A reason of a newer server falls back to the class of the code."""
    status = rich_status(
        grpc.StatusCode.INTERNAL, "new", error_details_pb2.ErrorInfo(domain="tokengrpc", reason="NEWS")
    )
    status.details.add(type_url="type.googleapis.com/nobody.Knows", value=b"\x01")
    status.details.add(type_url="type.googleapis.com/google.rpc.RetryInfo", value=b"\xff")
    error = from_status(status)
    assert isinstance(error, ServerFailedError)
    assert (error.reason, error.retry_delay) == ("NEWS", None)


def test_an_unknown_code_is_mapped_to_unknown() -> None:
    """Codes are numbers on the wire, and an unknown number is still an error."""
    assert from_status(status_pb2.Status(code=99, message="?")).code is grpc.StatusCode.UNKNOWN


@pytest.mark.parametrize(
    ("advice", "line"),
    [
        (Advice.RESUME, "X: it\tbroke; resume generation g after sequence 3"),
        (Advice.RETRY, "X: it\tbroke; retry under a new id (tokens generated so far are billed)"),
        (Advice.NEVER, "X: it\tbroke; retrying will not help"),
    ],
)
def test_an_error_is_one_line(advice: Advice, line: str) -> None:
    """The line has the reason, what happened and what to do, whatever the server's message looks like."""
    error = TokenStreamError("it\n\tbroke.", reason="X", advice=advice, generation_id="g", last_sequence=3)
    assert str(error) == line.replace("\t", " ")


@pytest.mark.parametrize(
    ("advice", "facts"),
    [
        (Advice.RESUME, " (generation g, sequence 3; retry after 0.5 s)"),
        (Advice.RETRY, " (retry after 0.5 s; tokens generated so far are billed)"),
        (Advice.NEVER, ""),
    ],
)
@pytest.mark.parametrize("mark", [":", ";"])
def test_a_servers_advice_is_not_repeated(mark: str, advice: Advice, facts: str) -> None:
    """If a server's message has advice after a colon or semicolon, only missing details are added."""
    message = f"it broke{mark} take a new id"
    error = TokenStreamError(
        message, reason="X", advice=advice, generation_id="g", last_sequence=3, retry_delay=0.5
    )
    assert str(error) == f"X: {message}{facts}"
    assert str(TokenStreamError(message, reason="X")) == f"X: {message}"


def test_errors_of_grpc_get_advice() -> None:
    """Messages of the gRPC library contain no advice, even if they have a colon."""
    error = TokenStreamError("lost (last: reset)", advice=Advice.RETRY)
    assert str(error).endswith("lost (last: reset); retry under a new id")


def test_errors_of_the_client_have_the_words_of_all_languages() -> None:
    """The table is that of clients/error_texts.json, and its texts have their advice."""
    shared = json.loads((ROOT / "clients/error_texts.json").read_text(encoding="utf-8"))
    assert shared == TEXTS
    cause = TokenStreamError("there is none; check the id", reason="GENERATION_NOT_FOUND")
    lost = generation_lost(cause)
    assert lost.message == shared["GENERATION_LOST"].replace("{cause}", "there is none")
    assert str(lost) == f"GENERATION_LOST: {lost.message}"
    broken = connection_lost(TokenStreamError("no route; last error: x"), resumable=True)
    broken.generation_id, broken.last_sequence = "g", 3
    assert broken.message == shared["CONNECTION_LOST"].replace("{cause}", "no route; last error: x")
    assert str(broken) == f"CONNECTION_LOST: {broken.message} (generation g, sequence 3)"


@pytest.mark.parametrize("words", ["Stream removed (ping timeout)", "keepalive timeout"])
def test_a_frozen_server_is_told_as_such(words: str) -> None:
    """The gRPC library's own words would not tell a person what has happened."""
    error = from_rpc_error(grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, details=words))
    assert error.message == TEXTS["server frozen"]


def test_errors_survive_pickling() -> None:
    """Errors can be sent between processes, as work queues do."""
    error = GenerationCancelledError("stop", reason="CANCELLED", usage=usage_pb2.Usage(output_token_count=1))
    copied = pickle.loads(pickle.dumps(error))
    assert type(copied) is GenerationCancelledError
    assert vars(copied) == vars(error)


def test_the_package_exports_the_client() -> None:
    """`from tokengrpc import …` works for every public name of the client."""
    assert tokengrpc.__all__ == client.__all__
    assert all(getattr(tokengrpc, name) is getattr(client, name) for name in client.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        tokengrpc.Nonsense  # noqa: B018 - asking is the test
