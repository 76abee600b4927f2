"""Settings of how a provider is reached: messages about invalid ones, and secrets that are not shown."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

from tokengrpc.config import ConfigError, describe, engine_settings, load, load_with_origins

if TYPE_CHECKING:
    from pathlib import Path

OPENAI = '[[models]]\nname = "m"\nkind = "openai"\nbase_url = "https://e.example/v1"\n'
TEXT = 'must be text, or a table with either env or file, such as { env = "PROVIDER_KEY" }'
PROXY = "must be http://HOST:PORT or http://USER:PASSWORD@HOST:PORT, or none"
NO_PROXY = "proxy: a Unix socket is not reached through a proxy; remove it"
NO_KEY = "cannot be combined with api_key_env or api_key_file"

WRONG = {
    "query = 5": "query: must be a table",
    "query = { v = 5 }": f"query.v: {TEXT}",
    'query = { "" = "x" }': "query: a parameter must have a name",
    "headers = { key = 5 }": f"headers.key: {TEXT}",
    "headers = { key = {} }": f"headers.key: {TEXT}",
    'headers = { key = { env = "A", file = "b" } }': f"headers.key: {TEXT}",
    'headers = { key = { variable = "A" } }': f"headers.key: {TEXT}",
    'headers = { key = { file = "" } }': f"headers.key: {TEXT}",
    'headers = { api-key = { env = "s3cret!" } }': "headers.api-key.env: must be the name of an environment "
    "variable (not the text itself)",
    'headers = { "a b" = "x" }': "headers: 'a b' is not the name of a header",
    'headers = { "a:" = "x" }': "headers: 'a:' is not the name of a header",
    'headers = { Content-Type = "x" }': "headers.Content-Type: is set by tokengrpc; remove it",
    'headers = { proxy-authorization = "x" }': "headers.proxy-authorization: is set by tokengrpc; remove it; "
    "use proxy",
    'headers = { a = "x", A = "y" }': "headers.A: occurs twice; names of headers have no case",
    'headers = { a = "s3cret\\r\\nb: c" }': "headers.a: must be printable text on one line",
    'api_key_env = "KEY"\nheaders = { authorization = "x" }': f"headers.authorization: {NO_KEY}",
    "body = { temperature = 1 }": "body.temperature: is set from each request; remove it",
    "body = { stream_options = {} }": "body.stream_options: is set from each request; remove it",
    "body = { a = [1, { b = nan }] }": "body.a: must be a JSON value: no date, time, nan or inf",
    "body = { a = 2026-11-26 }": "body.a: must be a JSON value: no date, time, nan or inf",
    'client_key_file = "k"': "client_key_file: requires client_cert_file",
    'proxy = "https://u:s3cret@p:1"': f"proxy: {PROXY}",
    'proxy = "socks5://p:1"': f"proxy: {PROXY}",
    'proxy = "p:1"': f"proxy: {PROXY}",
    'proxy = "http://p:99999"': f"proxy: {PROXY}",
    'proxy = "http://p:1/path"': f"proxy: {PROXY}",
    'proxy = "http://u:s3cret @p:1"': f"proxy: {PROXY}",
}


@pytest.fixture
def settings_file(tmp_path: Path):
    """Returns a function that writes the TOML file."""

    def write(text: str) -> Path:
        file = tmp_path / "tokengrpc.toml"
        file.write_text(text, encoding="utf-8")
        return file

    return write


@pytest.mark.parametrize("line", WRONG)
def test_invalid_settings_are_one_line(settings_file, line):
    """It starts with the file and the key, says what is allowed, and shows no text of a header."""
    file = settings_file(OPENAI + line)
    with pytest.raises(ConfigError) as caught:
        load(file, {}, {})
    assert str(caught.value) == f"{file}: models[0].{WRONG[line]}"
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("base_url", "setting", "message"),
    [
        ("http://e/v1", {"ca_file": "f"}, "ca_file: requires a base_url that begins with https:"),
        ("unix:/s", {"ca_file": "f"}, "ca_file: requires a base_url that begins with https:"),
        ("unix:/s", {"proxy": "http://p:1"}, NO_PROXY),
        ("unix:s", {}, "base_url: must be unix:/PATH/TO/SOCKET or unix:/PATH/TO/SOCKET:/PATH"),
        ("unix:/s:v1", {}, "base_url: must be unix:/PATH/TO/SOCKET or unix:/PATH/TO/SOCKET:/PATH"),
        ("unix:/s:/v1?q=1", {}, "base_url: must be unix:/PATH/TO/SOCKET or unix:/PATH/TO/SOCKET:/PATH"),
    ],
)
def test_settings_that_do_not_fit_the_url(base_url, setting, message):
    """They are refused, because they would be silently ignored."""
    with pytest.raises(ConfigError) as caught:
        engine_settings(kind="openai", base_url=base_url, **setting)
    assert str(caught.value) == message


def test_a_wrong_variable_or_flag_is_named():
    """With the place inside of the table."""
    with pytest.raises(ConfigError) as caught:
        load(None, {"TOKENGRPC_HEADERS": '{"key": 5}'}, {"model": "m", "base_url": "https://e/v1"})
    assert str(caught.value) == f"TOKENGRPC_HEADERS: key: {TEXT}"
    with pytest.raises(ConfigError) as caught:
        load(None, {}, {"model": "m", "base_url": "https://e/v1", "body": '{"model": "x"}'})
    assert str(caught.value) == "--body: model: is set from each request; remove it"
    with pytest.raises(ConfigError) as caught:
        load(None, {}, {"model": "m", "base_url": "https://e/v1", "query": "v=1"})
    assert str(caught.value) == '--query: must be a JSON object, such as {"api-version": "2024-10-21"}'


def test_the_key_of_anthropic_has_a_header_of_its_own():
    """Two keys are refused there too."""
    with pytest.raises(ConfigError, match=r"^headers\.X-API-Key: "):
        engine_settings(kind="anthropic", api_key_env="KEY", headers={"X-API-Key": "x"})
    assert engine_settings(kind="anthropic", api_key_env="KEY", headers={"Authorization": "x"})


SECRET = """
headers = { HTTP-Referer = "s3cret-referer", api-key = { env = "PROVIDER_KEY" }, x = { file = "/run/x" } }
query = { api-version = "2024-10-21", key = "s3cret-key" }
body = { provider = { sort = "price" }, token = "s3cret-token" }
proxy = "http://s3cret-user:s3cret-password@p.example:3128"
"""


def test_the_report_shows_no_secret(settings_file):
    """It shows the rest, and what it shows can be read back."""
    loaded = load_with_origins(settings_file(OPENAI + SECRET), {}, {})
    report = describe(loaded.settings, loaded.origins)
    assert "s3cret" not in report
    (shown,) = tomllib.loads(report)["models"]
    assert shown["headers"] == {
        "HTTP-Referer": "***",
        "api-key": {"env": "PROVIDER_KEY"},
        "x": {"file": "/run/x"},
    }
    assert shown["query"] == {"api-version": "2024-10-21", "key": "***"}
    assert shown["body"] == {"provider": {"sort": "price"}, "token": "***"}
    assert shown["proxy"] == "http://***@p.example:3128"


def test_the_repr_shows_no_secret(settings_file):
    """Settings may end up in a traceback."""
    text = repr(load(settings_file(OPENAI + SECRET), {}, {}))
    assert "e.example" in text
    assert "s3cret" not in text


def test_variables_of_headers_are_known(settings_file):
    """A variable that begins with TOKENGRPC_ may contain a text: it is not reported as mistyped."""
    file = settings_file(OPENAI + 'headers = { a = { env = "TOKENGRPC_EXTRA" } }')
    assert load(file, {"TOKENGRPC_EXTRA": "x"}, {})
