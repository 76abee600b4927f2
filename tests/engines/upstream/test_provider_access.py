"""What settings add to the requests of an engine, certificates, and Unix sockets, on real sockets."""

from __future__ import annotations

import json
import shutil
import ssl
import tempfile
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from tests.support.engine_runs import answer, run_once
from tests.support.provider import Provider
from tests.support.tls import server_context
from tokengrpc.config import ConfigError, engine_settings
from tokengrpc.core.request import GenerationRequest
from tokengrpc.engines.anthropic.engine import AnthropicEngine
from tokengrpc.engines.openai.engine import OpenAIEngine
from tokengrpc.errors import EngineUnavailable, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REQUEST = GenerationRequest(prompt="hi", max_output_token_count=8)


def openai(provider: Provider, **settings: Any) -> OpenAIEngine:
    return OpenAIEngine(
        engine_settings(name="e", kind="openai", api="chat", **{"base_url": f"{provider.url}/v1", **settings})
    )


async def test_query_headers_and_body(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """They are sent with every request; texts come from the table, a variable or a file."""
    monkeypatch.setenv("PROVIDER_KEY", " s3cret\n")
    file = tmp_path / "text"
    file.write_text("from a file\n")
    async with Provider() as provider:
        engine = openai(
            provider,
            query={"api-version": "2024-10-21", "a&b": "c d/é"},
            headers={"X-Plain": "plain é", "api-key": {"env": "PROVIDER_KEY"}, "x-file": {"file": str(file)}},
            body={"provider": {"sort": "price"}, "n_ctx": 5},
        )
        deltas, error = await run_once(engine, REQUEST)
        (call,) = provider.calls
    assert (answer(deltas), error) == ("Hello", None)
    assert dict(call.query) == {"api-version": "2024-10-21", "a&b": "c d/é"}
    assert (call.headers["X-Plain"], call.headers["api-key"]) == ("plain é", "s3cret")
    assert call.headers["x-file"] == "from a file"
    assert call.body["provider"] == {"sort": "price"}
    assert (call.body["n_ctx"], call.body["model"]) == (5, "e")


async def test_health_checks_have_them_too():
    """A provider that wants them refuses the list of models without them."""
    async with Provider() as provider:
        engine = openai(provider, query={"v": "1"}, headers={"api-key": "k"})
        await engine.start()
        await engine.check()
        await engine.close()
        (call,) = provider.calls
    assert (call.path, dict(call.query), call.headers["api-key"]) == ("/v1/models", {"v": "1"}, "k")


async def test_a_header_replaces_a_usual_one():
    """Whatever its case. It is not sent twice."""
    async with Provider() as provider:
        engine = AnthropicEngine(
            engine_settings(
                name="e",
                kind="anthropic",
                base_url=f"{provider.url}/v1",
                headers={"Anthropic-Version": "2030-01-01", "user-agent": "mine"},
                body={"metadata": {"user_id": "u"}},
            )
        )
        await run_once(engine, REQUEST)
        (call,) = provider.calls
    assert call.headers.getall("anthropic-version") == ["2030-01-01"]
    assert call.headers.getall("user-agent") == ["mine"]
    assert call.body["metadata"] == {"user_id": "u"}


async def test_a_request_may_replace_a_body_field():
    """If its name is an allowed engine parameter: it is the operator who allows it."""
    async with Provider() as provider:
        engine = openai(provider, body={"priority": 1, "tier": "flex"})
        await run_once(
            engine,
            GenerationRequest(prompt="hi", max_output_token_count=8, engine_params={"priority": 2.0}),
        )
        (call,) = provider.calls
    assert (call.body["priority"], call.body["tier"]) == (2, "flex")


async def test_a_refused_body_field_is_not_repeated_forever():
    """The field `reasoning` of the settings stays, even if the dialect learns to omit that name."""
    refusal = {"error": {"message": "Unknown name reasoning", "param": "reasoning"}}
    async with Provider(refusal=(400, refusal)) as provider:
        engine = openai(provider, body={"reasoning": {"effort": "low"}})
        _, error = await run_once(engine, REQUEST)
        assert len(provider.calls) == 2
    assert isinstance(error, InvalidRequest)


async def test_texts_are_hidden_in_errors(monkeypatch: pytest.MonkeyPatch):
    """A server may quote a header or parameter in its error, which callers are told."""
    monkeypatch.setenv("PROVIDER_KEY", "s3c")
    words = "bad: s3c long-plain-text q9"
    async with Provider(refusal=(400, {"error": {"message": words}})) as provider:
        monkeypatch.setenv("QUERY_KEY", "q9")
        engine = openai(
            provider,
            headers={"a": {"env": "PROVIDER_KEY"}, "b": "long-plain-text", "c": "bad"},
            query={"key": {"env": "QUERY_KEY"}},
        )
        _, error = await run_once(engine, REQUEST)
    assert "bad: [hidden] [hidden] [hidden]" in str(error)


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        (
            {"a": {"env": "NOT_SET"}},
            "engine e: headers.a.env: the environment variable NOT_SET is not set or is empty",
        ),
        (
            {"a": {"file": "/nowhere"}},
            "engine e: headers.a.file: the file /nowhere cannot be read: No such file or directory",
        ),
    ],
)
async def test_a_missing_text(headers: dict[str, Any], message: str):
    """The engine does not start, and the line names the variable or file."""
    async with Provider() as provider:
        with pytest.raises(ConfigError) as caught:
            await openai(provider, headers=headers).start()
    assert str(caught.value) == message


@pytest.fixture
def socket_path() -> Iterator[str]:
    """A path that is short enough for a socket, which pytest's own folders may not be."""
    folder = tempfile.mkdtemp(prefix="tg")
    yield f"{folder}/engine.sock"
    shutil.rmtree(folder)


@pytest.mark.parametrize("path", ["/v1", "/v1/", "", ":"])
async def test_a_unix_socket(socket_path: str, path: str):
    """The path of requests follows the socket's, after a colon; there may be none."""
    path = path.strip(":")
    async with Provider(socket_path=socket_path) as provider:
        engine = openai(provider, base_url=f"unix:{socket_path}" + (f":{path}" if path else ""))
        deltas, error = await run_once(engine, REQUEST)
        (call,) = provider.calls
    assert (answer(deltas), error) == ("Hello", None)
    assert (call.path, call.headers["Host"]) == (f"{path.rstrip('/')}/chat/completions", "localhost")


async def test_a_unix_socket_that_is_not_there(socket_path: str):
    """It is EngineUnavailable, without the path: callers are told."""
    async with Provider() as provider:
        _, error = await run_once(openai(provider, base_url=f"unix:{socket_path}:/v1"), REQUEST)
    assert isinstance(error, EngineUnavailable)
    assert "No such file or directory" in str(error)
    assert socket_path not in str(error)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


async def test_a_certificate_of_the_client(authority: trustme.CA, tmp_path: Path):
    """The server that requires one accepts the request, and refuses one without it."""
    ca, cert, key = (str(tmp_path / name) for name in ("ca.pem", "cert.pem", "key.pem"))
    authority.cert_pem.write_to_path(ca)
    issued = authority.issue_cert("client.example")
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    both = tmp_path / "both.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(str(both))
    context = server_context(authority, "localhost")
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    async with Provider(tls=context) as provider:
        url = f"{provider.url.replace('127.0.0.1', 'localhost')}/v1"
        for files in (
            {"client_cert_file": cert, "client_key_file": key},
            {"client_cert_file": str(both)},
        ):
            deltas, error = await run_once(openai(provider, base_url=url, ca_file=ca, **files), REQUEST)
            assert (answer(deltas), error) == ("Hello", None)
        _, error = await run_once(openai(provider, base_url=url, ca_file=ca), REQUEST)
        assert isinstance(error, EngineUnavailable)
        assert len(provider.calls) == 2


async def test_only_the_given_authority_is_trusted(authority: trustme.CA, tmp_path: Path):
    """With `ca_file`, the certificates of the system are not trusted any more."""
    ca = str(tmp_path / "ca.pem")
    trustme.CA().cert_pem.write_to_path(ca)
    async with Provider(tls=server_context(authority, "localhost")) as provider:
        url = f"{provider.url.replace('127.0.0.1', 'localhost')}/v1"
        _, error = await run_once(openai(provider, base_url=url, ca_file=ca), REQUEST)
    assert isinstance(error, EngineUnavailable)
    assert "certificate verify failed" in str(error)


@pytest.mark.parametrize("name", ["ca_file", "client_cert_file"])
@pytest.mark.parametrize("content", [None, "", "no certificate"])
async def test_files_that_are_no_certificates(tmp_path: Path, name: str, content: str | None):
    """The engine does not start, and one line names the setting and the file."""
    file = tmp_path / "file.pem"
    if content is not None:
        file.write_text(content)
    async with Provider() as provider:
        engine = openai(provider, base_url="https://e.example", **{name: str(file)})
        with pytest.raises(ConfigError) as caught:
            await engine.start()
    expected = "cannot be read: No such file" if content is None else "must contain "
    assert str(caught.value).startswith(f"engine e: {name}: the file {file} {expected}")
    assert "\n" not in str(caught.value)


async def test_an_encrypted_key_is_refused(authority: trustme.CA, tmp_path: Path):
    """OpenSSL would ask for the password on the terminal, and the server would hang."""
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - trustme brings it
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    issued = authority.issue_cert("client.example")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(str(cert))
    private = load_pem_private_key(issued.private_key_pem.bytes(), None)
    key.write_bytes(
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
    )
    async with Provider() as provider:
        engine = openai(
            provider,
            base_url="https://e.example",
            client_cert_file=str(cert),
            client_key_file=str(key),
        )
        with pytest.raises(ConfigError, match=r"client_key_file: .*an unencrypted key in PEM form"):
            await engine.start()


def test_body_fields_are_json():
    """The report of the settings and the request have the same value."""
    settings = engine_settings(kind="openai", base_url="http://h/v1", body={"a": [1, None, {"b": 2.5}]})
    assert json.loads(json.dumps(settings.shown()["body"])) == {"a": [1, None, {"b": 2.5}]}
