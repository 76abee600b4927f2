"""gRPC statuses as tokengrpc's errors: every code has a row, and no message says HTTP."""

from __future__ import annotations

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from tokengrpc.engines.upstream.errors.redaction import hiding
from tokengrpc.engines.vllm.errors import HTTP_STATUSES, rpc_error
from tokengrpc.errors import EngineBusy, EngineProtocolError, EngineUnavailable, TokenGrpcError

CODES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]


def error_of(code: grpc.StatusCode, details: str = "no", **more: bool) -> TokenGrpcError:
    failure = AioRpcError(code, Metadata(), Metadata(), details=details)
    return rpc_error("v", failure, hiding("s3cret"), **more)


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
def test_each_code_before_output(code: grpc.StatusCode) -> None:
    """A person is told the gRPC code, never an HTTP status."""
    error = error_of(code)
    assert "HTTP" not in error.message
    if code is grpc.StatusCode.UNIMPLEMENTED:
        assert isinstance(error, EngineProtocolError)
    else:
        assert code in HTTP_STATUSES
        assert "\n" not in error.message


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
def test_each_code_after_output(code: grpc.StatusCode) -> None:
    """Another engine may continue, or the caller may start again."""
    error = error_of(code, accepted=True, started=True)
    assert error.advice == "RETRY"
    assert error.reason in {"ENGINE_ABORTED", "ENGINE_LOST", "ENGINE_PROTOCOL_ERROR"}


def test_a_full_engine_is_busy_and_not_ill() -> None:
    """VLLM sheds load with RESOURCE_EXHAUSTED."""
    assert isinstance(error_of(grpc.StatusCode.RESOURCE_EXHAUSTED), EngineBusy)
    assert not isinstance(error_of(grpc.StatusCode.UNAVAILABLE), EngineBusy)
    assert isinstance(error_of(grpc.StatusCode.UNAVAILABLE), EngineUnavailable)


def test_a_message_that_is_too_large_is_no_full_engine() -> None:
    """The gRPC library uses the same code for it."""
    details = "CLIENT: Received message larger than max (9000000 vs. 1048576)"
    error = error_of(grpc.StatusCode.RESOURCE_EXHAUSTED, details)
    assert isinstance(error, EngineProtocolError)
    assert "max_event_bytes" in error.message


@pytest.mark.parametrize("started", [False, True])
def test_the_engines_words_are_redacted_and_cut(started: bool) -> None:
    """They may quote the key, and the prompt."""
    error = error_of(grpc.StatusCode.INTERNAL, "s3cret " + "x" * 900, started=started)
    assert "s3cret" not in error.message
    assert len(error.message) < 400


@pytest.mark.parametrize(
    "details",
    [
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.7:8033: Connection refused",
        "last error: UNAVAILABLE: ipv6:%5Bfd00::7%5D:8033: Socket closed at [fd00::7]:8033",
        "vllm-0.vllm.svc.cluster.local:8033 is draining",
    ],
)
@pytest.mark.parametrize("accepted", [False, True])
def test_addresses_in_the_words_of_grpc_are_redacted(details: str, accepted: bool) -> None:
    """The gRPC library names the engine's address."""
    message = error_of(grpc.StatusCode.UNAVAILABLE, details, accepted=accepted).message
    assert not [part for part in ("10.0.0.7", "fd00::7", "svc.cluster", "8033") if part in message], message
