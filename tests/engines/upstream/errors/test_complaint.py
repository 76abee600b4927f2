"""Error objects in the shapes in which servers and proxies send them, and what becomes of them."""

from __future__ import annotations

import json

import pytest

from tests.support.harness import collect, model_settings, serving
from tests.support.scripted_engine import Bytes, ScriptedEngine, Status
from tokengrpc.engines.upstream.errors.complaint import read_complaint
from tokengrpc.engines.upstream.errors.mapping import status_error, stream_error
from tokengrpc.errors import (
    Advice,
    ContextLengthExceeded,
    EngineAborted,
    EngineAuthFailed,
    EngineBusy,
    EngineUnavailable,
    InvalidRequest,
    ModelNotFound,
    TokenGrpcError,
)

INNER = {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8"}}
LONG = "prompt is too long: 9 > 8"
GOOGLE = {
    "code": 429,
    "message": "Resource has been exhausted",
    "status": "RESOURCE_EXHAUSTED",
    "details": [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure"},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "30.5s"},
    ],
}


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ([{"error": {"message": LONG}}], LONG),
        ({"errors": [{"code": 7, "message": LONG}]}, LONG),
        ({"error": [{"message": LONG}]}, LONG),
        ({"detail": {"error": {"message": LONG}}}, LONG),
        ({"detail": {"message": LONG}}, LONG),
        ({"detail": [{"loc": ["body", "n"], "msg": "is bad", "input": "secret"}]}, "body.n: is bad"),
        ({"fault": {"faultstring": LONG}}, LONG),
        ({"type": "about:blank", "title": "Bad", "detail": LONG, "status": 400}, LONG),
        ({"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}, "insufficient balance"),
        ({"error": {"message": "Provider returned error", "metadata": {"raw": json.dumps(INNER)}}}, LONG),
        ({"error": {"message": "Provider returned error", "metadata": {"raw": INNER}}}, LONG),
        ({"error": {"message": "Provider returned error", "metadata": {"raw": LONG}}}, LONG),
        ({"error": {"message": json.dumps(INNER)}}, LONG),
        ({"error": json.dumps(INNER)}, LONG),
        ({"error": {"message": f"litellm.BadRequestError: AnthropicException - {json.dumps(INNER)}"}}, LONG),
        ({"error": {"message": "failed", "error": {"message": LONG}}}, LONG),
        ({"error": {"message": "failed", "innererror": {"code": "Filtered", "message": LONG}}}, LONG),
        ({"error": {"message": "failed", "details": "not an object"}}, "failed"),
        ({"error": {"message": "failed", "metadata": None}}, "failed"),
        ({"error": {"message": "bad {braces}"}}, "bad {braces}"),
        ({"error": {"message": 'the schema {"message": 5} is bad'}}, 'the schema {"message": 5} is bad'),
    ],
)
def test_shapes(payload: object, message: str):
    """The words are those of the error that caused the others."""
    complaint = read_complaint(payload)
    assert complaint is not None
    assert complaint.message == message


@pytest.mark.parametrize(
    "payload",
    [
        *([], [[]], {}, {"choices": []}, {"error": None}, {"base_resp": {"status_code": 0}}, 5, "error"),
        {"code": 0, "msg": "ok"},
        {"code": 200, "message": "success"},
        {"error_code": 0, "error_msg": "none"},
        {"success": True, "id": "x"},
        {"status": "processing", "id": "x"},
        {"type": "ping"},
        {"message": {"content": "hi"}, "code": 5},
        {"choices": [{"delta": {"content": "hi"}}], "msg": "x", "code": 7},
        {"content": [{"text": "hi"}], "message": "x", "status": "failed"},
    ],
)
def test_payloads_without_an_error(payload: object):
    """Everything else is no complaint."""
    assert read_complaint(payload) is None


# Objects without an error field: the payload, what it becomes before output, the delay, and words of it.
BARE = [
    ({"code": "429", "msg": "Too many requests, retry after 9 seconds"}, EngineBusy, 9.0, "Too many"),
    ({"error_code": 18, "error_msg": "Open api qps request limit reached"}, EngineBusy, None, "Open api"),
    ({"Code": "Throttling", "Message": "Requests throttling triggered"}, EngineBusy, None, "triggered"),
    ({"success": False, "msg": "model gone", "code": 503}, EngineUnavailable, None, "model gone"),
    ({"success": "false", "message": "no credit balance"}, EngineAuthFailed, None, ""),
    ({"status": "error", "reason": "rate limit exceeded"}, EngineBusy, None, "rate limit"),
    ({"status": "failed", "detail": {"reason": LONG}}, ContextLengthExceeded, None, "9 > 8"),
    ({"exception": "CUDA out of memory"}, EngineAborted, None, "CUDA"),
    ({"exception": {"message": "CUDA out of memory"}}, EngineAborted, None, "CUDA"),
    ({"errors": [{"code": 429, "message": "slow down"}]}, EngineBusy, None, "slow down"),
    ({"errors": ["first", "second"]}, EngineAborted, None, "first"),
    ({"detail": "Model is loading"}, EngineUnavailable, None, "Model is loading"),
    ({"fault": {"faultstring": "Rate limit quota violation"}}, EngineBusy, None, "violation"),
    ({"error": "invalid_grant", "error_description": "The token is gone"}, EngineAborted, None, "is gone"),
    ({"error": "Bad Request", "message": ["a must be b"], "statusCode": 400}, InvalidRequest, None, "a must"),
    ({"error_description": "API key expired"}, EngineAuthFailed, None, ""),
    ({"errorCode": "500", "errorMessage": "boom"}, EngineUnavailable, None, "boom"),
    ({"choices": [], "code": 503, "message": "boom"}, EngineUnavailable, None, "boom"),
    ({"status": 429, "title": "Too Many Requests"}, EngineBusy, None, "Too Many"),
]


@pytest.mark.parametrize(("payload", "expected", "delay", "words"), BARE, ids=lambda value: str(value)[:60])
def test_objects_without_an_error_field(
    payload: dict[str, object], expected: type, delay: float | None, words: str
):
    """A code, a status or a name shows that an object is an error: the same tables say what it means."""
    complaint = read_complaint(payload)
    assert complaint is not None
    error = stream_error("m", complaint, started=False)
    assert type(error) is expected
    assert words in error.message
    if delay is not None:
        assert error.retry_after == delay


@pytest.mark.parametrize("form", ["text/event-stream", "application/json"])
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_as_all_that_a_response_has(form: str, kind: str):
    """As the only event of a stream, or as the whole body under 200: the words reach the caller."""
    async with ScriptedEngine() as engine:
        model = model_settings(name="m", kind=kind, base_url=engine.base_url, usage_timeout=0.1)
        async with serving(model) as server:
            for payload, expected, _, words in BARE:
                body = json.dumps(payload)
                if form == "text/event-stream":
                    engine.script(Bytes(f"data: {body}\n\n".encode()))
                else:
                    engine.script(Status(200, body))
                outcome = await collect(server.stream())
                assert (outcome.info.reason, words in outcome.message) == (expected.reason, True), payload


def test_errors_that_contain_each_other_for_ever():
    """Nesting is bounded."""
    error: object = {"message": "deepest"}
    for _ in range(500):
        error = {"message": "outer", "error": error}
    complaint = read_complaint({"error": error})
    assert complaint is not None
    assert complaint.message == "outer"


def refusal(status: int, delay: float | None = None, /, **error: object) -> TokenGrpcError:
    return status_error("m", status, read_complaint({"error": error}), delay)


CREDIT = "Your credit balance is too low to access the Anthropic API."
PER_MINUTE = "Request too large on tokens per minute (TPM): Limit 6000, Requested 7000"


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (400, {"type": "invalid_request_error", "message": CREDIT}, EngineAuthFailed),
        (403, {"message": CREDIT}, EngineAuthFailed),
        (400, {"message": "API key not valid. Please pass a valid API key."}, EngineAuthFailed),
        (400, {"message": "User location is not supported for the API use."}, EngineAuthFailed),
        (400, {"code": "Arrearage", "message": "Access denied"}, EngineAuthFailed),
        (413, {"code": "rate_limit_exceeded", "message": PER_MINUTE}, EngineBusy),
        (400, {"type": "ThrottlingException", "message": "slow down"}, EngineBusy),
        (403, {"message": "rate limit exceeded"}, EngineBusy),
        (400, {"message": "Model is currently loading"}, EngineUnavailable),
        (400, {"message": "Invalid model name passed in model=gpt-9"}, ModelNotFound),
        (422, {"code": "model_not_found", "message": "no"}, ModelNotFound),
        (400, {"message": "the prompt exceeds the maximum allowed input length"}, ContextLengthExceeded),
        (500, {"message": "the prompt exceeds the maximum allowed input length"}, ContextLengthExceeded),
        (400, {"message": "temperature must be less than 2"}, InvalidRequest),
        (413, {"message": "the body is too large"}, InvalidRequest),
        (429, {"code": "insufficient_quota", "message": "You exceeded your current quota"}, EngineAuthFailed),
        (429, {"type": "exceeded_current_quota_error", "message": "no"}, EngineAuthFailed),
        (429, {"message": "Rate limit reached on requests per min. Add a way of billing."}, EngineBusy),
        (400, {"message": "Provider returned error", "metadata": {"raw": CREDIT}}, EngineAuthFailed),
        (401, {"message": "the model does not exist"}, EngineAuthFailed),
        (503, {"message": "insufficient_quota"}, EngineUnavailable),
    ],
)
def test_statuses_that_mislead(status: int, error: dict[str, object], expected: type):
    """The operator's faults are not taken for the caller's, nor what never passes for what does."""
    assert type(refusal(status, **error)) is expected


def test_a_quota_that_a_delay_renews():
    """A provider that calls a short limit a quota says when it passes."""
    assert refusal(429, code="insufficient_quota").advice is Advice.NEVER
    for failure in (
        refusal(429, 20.0, code="insufficient_quota"),
        refusal(429, code="insufficient_quota", message="Please try again in 20s."),
    ):
        assert isinstance(failure, EngineBusy)
        assert failure.retry_after == 20.0


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"code": "context_length_exceeded", "message": "no"}, ContextLengthExceeded),
        ({"message": CREDIT, "type": "invalid_request_error"}, EngineAuthFailed),
        ({"message": CREDIT}, EngineAuthFailed),
        ({"code": "insufficient_quota", "type": "insufficient_quota"}, EngineAuthFailed),
        ({"code": 402, "message": "Provider returned error"}, EngineAuthFailed),
        ({"status": "INVALID_ARGUMENT", "message": "bad"}, InvalidRequest),
        ({"message": "The model `x` does not exist"}, ModelNotFound),
        ({"message": "Model is currently loading"}, EngineUnavailable),
        ({"message": "CUDA out of memory"}, EngineAborted),
    ],
)
def test_errors_under_status_200(error: dict[str, object], expected: type):
    """Before any output they are what they say. After it only the context's length is told apart."""
    complaint = read_complaint([{"error": error}])
    assert complaint is not None
    assert type(stream_error("m", complaint, started=False)) is expected
    after = expected if expected is ContextLengthExceeded else EngineAborted
    assert type(stream_error("m", complaint, started=True)) is after


def test_a_delay_in_the_error_object():
    """Google's RetryInfo, under a status and in the stream."""
    complaint = read_complaint([{"error": GOOGLE}])
    assert complaint is not None
    for failure in (
        status_error("m", 429, complaint, None),
        stream_error("m", complaint, started=False),
    ):
        assert isinstance(failure, EngineBusy)
        assert failure.retry_after == 30.5
        assert "Resource has been exhausted" in failure.message
