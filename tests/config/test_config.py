"""Settings: allowed values, the precedence of sources, and error messages."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

from tokengrpc.config import (
    ConfigError,
    RemoteEngineSettings,
    TenantSettings,
    describe,
    engine_settings,
    load,
    load_with_origins,
    model_settings,
)
from tokengrpc.config.keys import KEYS, flag, variable
from tokengrpc.core.model import Capability
from tokengrpc.engines.builtin.settings import BuiltinSettings

if TYPE_CHECKING:
    from pathlib import Path

COUNT = "must be a whole number of at least 1 and at most 1,000,000"
SEVERAL = "authenticator: must be different names with commas between, as jwt,static"
REPLAY = '[[models]]\nname = "a"\nkind = "replay"\n'
OPENAI = '[[models]]\nname = "m"\nkind = "openai"\nbase_url = "http://127.0.0.1:8000/v1"\n'

ENGINES = """[[models]]
name = "m"
context_token_count = 5
[[models.engines]]
name = "a"
upstream_model = "other"
weight = 2.0
[[models.engines]]
context_token_count = 3
"""


@pytest.fixture
def settings_file(tmp_path: Path):
    """Returns a function that writes the TOML file."""

    def write(text: str) -> Path:
        file = tmp_path / "tokengrpc.toml"
        file.write_text(text, encoding="utf-8")
        return file

    return write


def error_of(file, environ=None, **flags) -> str:
    with pytest.raises(ConfigError) as caught:
        load(file, environ or {}, flags)
    assert "\n" not in str(caught.value)
    return str(caught.value)


WRONG_FILES = {
    'listen = "localhost"': "listen: must be HOST:PORT, such as 127.0.0.1:50051 or [::]:50051, or unix:/PATH",
    'listen = "localhost:70000"': "listen: the port must be from 0 to 65535",
    'admin_listen = "localhost:70000"': "admin_listen: the port must be from 0 to 65535",
    'admin_grpc_listen = "x"': "admin_grpc_listen: must be HOST:PORT, such as 127.0.0.1:9090 or [::]:9090, "
    "or empty",
    "listen = 50051": "listen: must be HOST:PORT, such as 127.0.0.1:50051 or [::]:50051, or unix:/PATH",
    'listen = "unix:a"': "listen: must be HOST:PORT, such as 127.0.0.1:50051 or [::]:50051, or unix:/PATH",
    f'listen = "unix:/{"a" * 103}"': "listen: the path must have at most 103 bytes",
    'log_level = "loud"': "log_level: must be one of debug, error, info, warning",
    'log_format = "xml"': "log_format: must be one of auto, console, json",
    'default_model = "x"': "default_model: there is no model `x`; the models are: builtin",
    '[tls]\nkey_file = "k"': "tls.key_file: needs a certificate of the server; set tls.cert_file as well",
    '[tls]\nclient_ca_file = "c"': "tls.client_ca_file: needs a certificate of the server; "
    "set tls.cert_file as well",
    'listen = "unix:/run/t"\n[tls]\ncert_file = "c"': "tls.cert_file: a Unix socket is plaintext; "
    "remove it, or listen on HOST:PORT",
    "limit = {}": "limit: unknown key; did you mean `limits`?",
    "drain_time = 3": "drain_time: belongs in [limits]",
    "limits = 3": "limits: must be a table",
    "[limits]\nmax_readers = 0": f"limits.max_readers: {COUNT}",
    "[limits]\nmax_readers = 1.5": f"limits.max_readers: {COUNT}",
    '[limits]\ndetach_ttl = "1m"': "limits.detach_ttl: must be a number above 0 and at most 86,400",
    "[limits]\ndetach_ttl = nan": "limits.detach_ttl: must be a number above 0 and at most 86,400",
    "[limits]\ndetach_ttl = inf": "limits.detach_ttl: must be a number above 0 and at most 86,400",
    "[limits]\nreplay_ttl = 601": "limits.replay_ttl: must be at most max_replay_ttl, which is 600",
    "models = []": "models: must be a list of tables, at least 1",
    "models = [3]": "models[0]: must be a table",
    "[[models]]": "models[0].name: required: 1 to 128 characters of A-Z a-z 0-9 . _ ~ : / -",
    '[[models]]\nname = "a b"': "models[0].name: must be 1 to 128 characters of A-Z a-z 0-9 . _ ~ : / -",
    '[[models]]\nname = "a"\n[[models]]\nname = "a"': "models[1].name: `a` is used already; "
    "names must be unique",
    '[[models]]\nname = "a"\nkind = "x"': "models[0].kind: there is no such kind of engine; "
    "installed are: anthropic, builtin, openai, replay, vllm",
    '[[models]]\nname = "a"\nkind = "openai"': "models[0].base_url: required for an openai engine, "
    "such as http://127.0.0.1:8000/v1",
    '[[models]]\nname = "a"\nbase_url = "http://a"': "models[0].base_url: for anthropic, openai and "
    "vllm engines only; remove it, or set kind (--engine)",
    f"{OPENAI}connect_timeout = 31": "models[0].connect_timeout: must be at most limits.connect_timeout, "
    "which is 30",
    f"{ENGINES}connect_timeout = 31": "models[0].engines[1].connect_timeout: must be at most "
    "limits.connect_timeout, which is 30",
    f"{OPENAI}first_token_timeout = 121": "models[0].first_token_timeout: must be at most "
    "limits.first_token_timeout, which is 120",
    f"{OPENAI}inter_token_timeout = 61": "models[0].inter_token_timeout: must be at most "
    "limits.inter_token_timeout, which is 60",
    f"{OPENAI}time_limit = 3601": "models[0].time_limit: must be at most limits.max_time_limit, "
    "which is 3600",
    f"{OPENAI}pace = 3": "models[0].pace: for builtin engines only; remove it, or set kind (--engine)",
    '[[models]]\nname = "a"\ndialect = "vllm"': "models[0].dialect: for openai engines only; "
    "remove it, or set kind (--engine)",
    '[[models]]\nname = "a"\nkind = "anthropic"\napi = "chat"': "models[0].api: for openai engines only; "
    "remove it, or set kind (--engine)",
    '[[models]]\nname = "a"\nextra_capabilities = ["TOOLS"]': "models[0].extra_capabilities: for anthropic, "
    "openai, replay and vllm engines only; remove it, or set kind (--engine)",
    '[[models]]\nname = "a"\non_cancel = "drain"': "models[0].on_cancel: for anthropic and openai engines "
    "only; remove it, or set kind (--engine)",
    f"{OPENAI}options = {{ max_tokens = 3 }}": "models[0].options: for anthropic and replay engines only; "
    "remove it, or set kind (--engine)",
    f'{OPENAI}api = "soap"': "models[0].api: must be one of auto, chat, completions",
    f'{OPENAI}dialect = "x"': "models[0].dialect: must be one of generic, litellm, llamacpp, "
    "llamacpp-python, mistral, ollama, openai, sglang, tgi, transformers, vllm",
    f'{OPENAI}extra_capabilities = ["FLYING"]': "models[0].extra_capabilities[0]: must be one of "
    + ", ".join(Capability),
    f'{OPENAI}extra_capabilities = ["TOOLS"]\nmissing_capabilities = ["TOOLS"]': "models[0]."
    "missing_capabilities: TOOLS is in extra_capabilities too; remove it from one of them",
    f'{OPENAI}api_key_env = "sk-123"': "models[0].api_key_env: must be the name of an environment variable "
    "(not the key itself)",
    f'{OPENAI}api_key_env = "A"\napi_key_file = "b"': "models[0].api_key_file: cannot be combined with "
    "api_key_env; remove one of them",
    f"{OPENAI}allowed_engine_params = [1]": "models[0].allowed_engine_params[0]: must be text",
    f"{OPENAI}[[models.engines]]\nname = 'a'": "models[0].base_url: cannot be combined with engines; "
    "set it in [[models.engines]] instead",
    f"{ENGINES}[[models.engines]]\nname = 'a'": "models[0].engines[2].name: `a` is used already; "
    "names must be unique",
    f"{ENGINES}[[models.engines]]\nkind = 'openai'": "models[0].engines[2].base_url: required for an openai "
    "engine, such as http://127.0.0.1:8000/v1",
    f"{ENGINES}tokenizer = 'x'": "models[0].engines[1].tokenizer: unknown key; allowed are: "
    + ", ".join(BuiltinSettings.__struct_fields__),
    f"{ENGINES}faults = {{ cut_at_token = -1 }}": "models[0].engines[1].faults.cut_at_token: must be a whole "
    "number of at least 0 and at most 1,000,000,000",
    "[[models]]\nname = 'a'\nfaults = { refuse = true, status = 500 }": "models[0].faults.status: cannot be "
    "combined with refuse; only one fault can end the output",
    "[[models]]\nname = 'a'\nallowed_engine_params = ['faults']": "models[0].allowed_engine_params: must not "
    "contain faults; set allow_request_faults instead",
    f"{ENGINES}weight = 0": "models[0].engines[1].weight: must be a number above 0 and at most 1,000",
    f"{REPLAY}options = 1": "models[0].options: must be a table",
    'authenticator = "jwt,,static"': SEVERAL,
    'authenticator = ["jwt", "jwt"]': SEVERAL,
    '[[tenants]]\nname = "a"': "tenants[0].key_env: required (or key_file), so that this tenant has a key",
    '[[tenants]]\nname = "a"\nkey_env = "A"\nkey_file = "b"': "tenants[0].key_file: cannot be combined with "
    "key_env; remove one of them",
    '[[tenants]]\nname = "a"\nkey_env = "A"\nadmin = 1': "tenants[0].admin: must be true or false",
    '[[tenants]]\nname = "a"\nkey_env = "A"\nmodels = ["x"]': "tenants[0].models[0]: there is no model `x`; "
    "the models are: builtin",
}


@pytest.mark.parametrize(("text", "message"), WRONG_FILES.items())
def test_an_error_names_the_file_the_key_and_what_is_allowed(settings_file, text, message):
    """Each invalid file gives one line."""
    file = settings_file(text)
    assert error_of(file) == f"{file}: {message}"


def test_an_unknown_key_gets_a_suggestion_or_the_list(settings_file):
    """For a misspelled key the error suggests the likely one. For any other, it lists the allowed keys."""
    file = settings_file(f'{OPENAI}api_key = "sk-secret"')
    message = error_of(file)
    assert message == f"{file}: models[0].api_key: unknown key; did you mean `api_key_env`?"
    assert "unknown key; allowed are: listen, " in error_of(settings_file("zzz = 1"))


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8000",
        "ftp://host/v1",
        "http://",
        "http://host:99999/v1",
        "http://[::1/v1",
        " http://host/v1",
    ],
)
def test_a_base_url_is_http(settings_file, url):
    """Anything but an http or https URL with a host is refused."""
    message = error_of(settings_file(f'[[models]]\nname = "m"\nkind = "openai"\nbase_url = "{url}"'))
    assert "models[0].base_url: must be http://HOST/PATH or https://HOST/PATH" in message


@pytest.mark.parametrize(
    "url", ["http://user:hunter2@host/v1", "http://host/v1?key=hunter2", "http://host/v1#hunter2"]
)
def test_a_base_url_has_no_credentials(settings_file, url):
    """Credentials in a URL are refused, and the error does not repeat them."""
    message = error_of(settings_file(f'[[models]]\nname = "m"\nkind = "openai"\nbase_url = "{url}"'))
    assert "without user, password or query" in message
    assert "hunter2" not in message


def test_unreadable_files_are_named(tmp_path, settings_file):
    """Missing, undecodable and malformed files give one line with the file's name."""
    missing = tmp_path / "missing.toml"
    assert error_of(missing) == f"{missing}: cannot be read: No such file or directory"
    assert error_of(None, {"TOKENGRPC_CONFIG": str(missing)}).startswith(f"{missing}: cannot be read")
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b'listen = "\xe9"')
    assert error_of(latin) == f"{latin}: is not UTF-8, which TOML requires"
    file = settings_file("listen =")
    assert error_of(file).startswith(f"{file}: is not valid TOML: ")


def test_the_defaults_are_one_builtin_model():
    """The defaults are a complete configuration."""
    settings = load(None, {}, {})
    assert [(model.name, model.engines[0].kind) for model in settings.models] == [("builtin", "builtin")]
    assert settings.tenants == ()


def test_precedence_of_flags_variables_file_and_defaults(settings_file):
    """Each source takes precedence over the ones below it."""
    file = settings_file(
        'listen = "file:1"\nlog_level = "error"\nlog_format = "json"\n[limits]\nmax_readers = 2'
    )
    environ = {
        "TOKENGRPC_LISTEN": "variable:1",
        "TOKENGRPC_LOG_LEVEL": "warning",
        "TOKENGRPC_LIMITS_DRAIN_TIME": "1.5",
    }
    loaded = load_with_origins(file, environ, {"listen": "flag:1", "log_format": None})
    settings, limits = loaded.settings, loaded.settings.limits
    assert (settings.listen, settings.log_level, settings.log_format) == ("flag:1", "warning", "json")
    assert (limits.max_readers, limits.drain_time, limits.max_generations) == (2, 1.5, 4096)
    assert loaded.origins["listen"] == "--listen"
    assert loaded.origins["log_level"] == "TOKENGRPC_LOG_LEVEL"
    assert loaded.origins["limits.max_readers"] == str(file)


SAMPLES = {
    "limits_flush_interval": "0.5",
    "listen": "host:1",
    "default_model": "builtin",
    "log_level": "debug",
    "log_format": "json",
    "reflection": "off",
    "ledger_outage": "strict",
    "store_outage": "degrade",
    "engine": "builtin",
    "base_url": "http://host",
    "api": "chat",
    "dialect": "vllm",
    "context_token_count": "3",
    "pace": "0.5",
    "connect_timeout": "0.5",
    "first_token_timeout": "0.5",
    "inter_token_timeout": "0.5",
    "time_limit": "0.5",
    "faults": '{"cut_at_token": 5}',
    "allow_request_faults": "true",
    "insecure": "true",
    "otlp": "true",
    "query": '{"api-version": "2024-10-21"}',
    "headers": '{"api-key": {"env": "PROVIDER_KEY"}}',
    "body": '{"provider": {"sort": "price"}}',
    "proxy": "http://proxy:3128",
    "admin_listen": "127.0.0.1:9090",
    "admin_grpc_listen": "127.0.0.1:9091",
    "load_reports": "true",
    "limits_max_core_share": "0.5",
    "limits_max_core_wait": "0.5",
}
HTTP_ONLY = {"api", "dialect", "api_key_env", "api_key_file", "query", "headers", "body", "ca_file", "proxy"}


@pytest.mark.parametrize("key", KEYS)
def test_every_key_has_a_variable_and_a_flag(key):
    """Both accept the same value. The error for an invalid value names its source."""
    text = SAMPLES.get(key, "NAME")
    if KEYS[key].section == "limits" and key not in SAMPLES:
        text = "99999999" if key.endswith("bytes") else "60"
    extra = {"model": "m"} if key == "base_url" else {}
    if key in HTTP_ONLY:
        extra = {"model": "m", "base_url": "https://engine/v1"}
    if key in {"client_cert_file", "client_key_file"}:
        extra = {"model": "m", "base_url": "https://engine/v1", "client_cert_file": "NAME"}
        extra.pop(key, None)
    if key in {"tls_key_file", "tls_client_ca_file"}:
        extra = {"tls_cert_file": "NAME"}
    if key in {"tokenizer_path", "chat_template"}:
        extra = {"model": "m", "base_url": "http://engine", "engine": "vllm"}
    from_variable = load_with_origins(None, {variable(key): text}, extra)
    from_flag = load_with_origins(None, {}, {key: text} | extra)
    assert from_variable.settings == from_flag.settings
    assert from_variable.origins[KEYS[key].path] == variable(key)
    assert from_flag.origins[KEYS[key].path] == flag(key)


WRONG_FAULTS = {
    "{": 'must be a JSON object, such as {"cut_at_token": 5}',
    "5": 'must be a JSON object, such as {"cut_at_token": 5}',
    '{"usage": "some"}': "usage: must be one of none, told, twice",
    '{"retry_after": 1}': "retry_after: requires status",
    '{"status": 200}': "status: must be 0 or from 300 to 599",
    '{"stall_time": 1}': "stall_time: requires stall_at_token",
}


def test_an_invalid_variable_or_flag_is_named():
    """The line starts with the name that the user typed."""
    assert (
        error_of(None, {"TOKENGRPC_LIMITS_MAX_READERS": "many"}) == f"TOKENGRPC_LIMITS_MAX_READERS: {COUNT}"
    )
    for text, message in WRONG_FAULTS.items():
        assert error_of(None, {"TOKENGRPC_FAULTS": text}) == f"TOKENGRPC_FAULTS: {message}"
        assert error_of(None, faults=text) == f"--faults: {message}"
    assert error_of(None, listen="here").startswith("--listen: must be HOST:PORT")
    assert error_of(None, {"TOKENGRPC_LIMITS_MAX_REPLAY_TTL": "30"}) == (
        "TOKENGRPC_LIMITS_REPLAY_TTL: must be at most max_replay_ttl, which is 30"
    )
    for more in ({}, {"model": "m"}, {"base_url": "x"}):
        assert error_of(None, engine="x", **more) == (
            "--engine: there is no such kind of engine; "
            "installed are: anthropic, builtin, openai, replay, vllm"
        )
    assert error_of(None, {"TOKENGRPC_BASE_URL": "x"}, model="m").startswith(
        "TOKENGRPC_BASE_URL: must be http"
    )


def test_an_empty_variable_is_unset():
    """Containers set variables to empty strings if there is no value."""
    assert load(None, {"TOKENGRPC_LISTEN": "", "TOKENGRPC_PACE": ""}, {}) == load(None, {}, {})


def test_an_unknown_variable_is_refused(settings_file):
    """For a misspelled variable the error suggests the likely one.

    Variables of other programs are ignored.
    """
    message = error_of(None, {"TOKENGRPC_LISTN": "x"})
    assert message == "TOKENGRPC_LISTN: unknown setting; did you mean TOKENGRPC_LISTEN?"
    assert "unknown setting; known are: TOKENGRPC_" in error_of(None, {"TOKENGRPC_ZZZZZZZZZZZZZZZZ": "x"})
    others = {"TOKENGRPC_TARGET": "x", "TOKENGRPC_TOKEN": "x", "TOKENGRPC_REQUIRE_ALL": "1", "HOME": "/"}
    service_links = {
        "TOKENGRPC_SERVICE_HOST": "10.0.0.1",
        "TOKENGRPC_SERVICE_PORT": "1",
        "TOKENGRPC_SERVICE_PORT_GRPC": "1",
        "TOKENGRPC_PORT": "tcp://10.0.0.1:1",
        "TOKENGRPC_PORT_50051_TCP_ADDR": "10.0.0.1",
        "TOKENGRPC_HEADLESS_PORT_50051_TCP": "x",
    }
    named = settings_file('[[tenants]]\nname = "a"\nkey_env = "TOKENGRPC_KEY_OF_A"')
    load(named, others | service_links | {"TOKENGRPC_KEY_OF_A": "x"}, {})


def test_model_flags_replace_the_models_of_the_file(settings_file):
    """--engine, --base-url and --model define a single model. --base-url implies the kind openai."""
    file = settings_file(f'{OPENAI}api_key_env = "A"\n[[models]]\nname = "other"')
    (model,) = load(file, {}, {"base_url": "http://host/v1", "model": "llama3.2:1b"}).models
    assert model == model_settings(name="llama3.2:1b", kind="openai", base_url="http://host/v1")
    (model,) = load(file, {"TOKENGRPC_PACE": "40"}, {"engine": "builtin"}).models
    assert model == model_settings(name="builtin", pace=40)
    required = "--model (or TOKENGRPC_MODEL): required with {}: the model's name, such as llama3.2"
    assert error_of(file, base_url="http://host/v1") == required.format("--base-url")
    assert error_of(file, engine="openai") == required.format("--engine")
    assert error_of(file, {"TOKENGRPC_BASE_URL": "x"}) == required.format("TOKENGRPC_BASE_URL")
    assert error_of(file, engine="openai", model="m").startswith(
        "--base-url (or TOKENGRPC_BASE_URL): required"
    )
    assert error_of(None, engine="builtin", base_url="http://host").startswith(
        "--base-url: for anthropic, openai and vllm engines only"
    )


def test_other_model_flags_change_a_single_model(settings_file):
    """With several models, it would be ambiguous which one they change."""
    one = settings_file(OPENAI)
    assert load(one, {}, {"api_key_env": "A"}).models[0].engines[0].api_key_env == "A"
    two = settings_file(f'{OPENAI}[[models]]\nname = "other"')
    assert error_of(two, pace=3.0) == (
        f"--pace: works with a single model only, and {two} has several; set it in the file"
    )


def test_engines_inherit_settings_of_their_model(settings_file):
    """Name, context and the model's upstream name. A model without engines is its own engine."""
    (model,) = load(settings_file(ENGINES), {}, {}).models
    first, second = model.served_engines
    assert (first.name, first.upstream_model, first.context_token_count) == ("a", "other", 5)
    assert (second.name, second.upstream_model, second.context_token_count) == ("m", "m", 3)
    (only,) = model_settings(name="x", kind="openai", base_url="http://h", weight=3).served_engines
    assert only == engine_settings(name="x", kind="openai", base_url="http://h", weight=3, upstream_model="x")


def test_variables_do_not_change_one_engine_of_several(settings_file):
    """It would be ambiguous which one they change."""
    assert error_of(settings_file(ENGINES), {"TOKENGRPC_PACE": "3"}) == (
        "TOKENGRPC_PACE: cannot be combined with engines; set it in [[models.engines]] instead"
    )


def test_keys_are_read_on_request(tmp_path):
    """From the named variable or file, with its current contents. If it is missing, the error names it."""
    file = tmp_path / "key"
    engine = RemoteEngineSettings(name="m", api_key_file=str(file))
    with pytest.raises(
        ConfigError, match=f"^engine m: api_key_file: the file {file} cannot be read: No such file"
    ):
        engine.read_api_key()
    file.write_text("")
    with pytest.raises(ConfigError, match=r"is not set or is empty$"):
        engine.read_api_key()
    file.write_text("secret\n")
    assert engine.read_api_key() == "secret"
    engine = RemoteEngineSettings(name="m", api_key_env="KEY")
    assert engine.read_api_key({"KEY": "secret"}) == "secret"
    with pytest.raises(
        ConfigError, match=r"^engine m: api_key_env: the environment variable KEY is not set or is empty$"
    ):
        engine.read_api_key({})
    assert RemoteEngineSettings(name="m").read_api_key({}) is None
    assert TenantSettings(name="t", key_env="KEY").read_key({"KEY": "secret"}) == "secret"


def test_settings_created_in_code_are_checked_as_well():
    """The checks belong to the values, not to the file."""
    with pytest.raises(ConfigError, match=r"^base_url: required for an openai engine"):
        model_settings(name="m", kind="openai")


def test_the_description_reads_back_as_the_same_settings(settings_file, tmp_path):
    """The effective settings can be saved as a file. Each line names its source."""
    file = settings_file(
        f'{REPLAY}[models.options]\n"a b" = [1, 2.5, true, "x\\ny"]\n[[tenants]]\nname = "t"\nkey_env = "K"'
    )
    loaded = load_with_origins(file, {"TOKENGRPC_LOG_LEVEL": "debug"}, {"listen": "[::1]:0"})
    text = describe(loaded.settings, loaded.origins)
    again = tmp_path / "again.toml"
    again.write_text(text)
    assert load(again, {}, {}) == loaded.settings
    several = load(settings_file(ENGINES), {}, {})
    again.write_text(describe(several))
    assert load(again, {}, {}) == several
    assert "(default)" not in describe(several)  # nobody knows
    lines = {line.partition(" = ")[0]: line for line in text.splitlines()}
    assert lines["listen"].endswith("(--listen)")
    assert lines["log_level"].endswith("(TOKENGRPC_LOG_LEVEL)")
    assert lines["kind"].endswith(f"({file})")
    assert lines["max_readers"].endswith("(default)")


def test_the_description_masks_secrets(settings_file):
    """Options with names of secrets are hidden, at any depth, and so are those in URLs."""
    file = settings_file(
        'ledger = "postgresql://ann:s3cret@db/usage?sslpassword=s3cret&port=3"\n'
        f'{REPLAY}options = {{ api_key = "s3cret", list = [{{ Password = "s3cret", size = 3 }}] }}'
    )
    text = describe(load(file, {}, {}))
    assert "s3cret" not in text
    assert tomllib.loads(text)["ledger"] == "postgresql://***@db/usage?***&port=3"
    assert tomllib.loads(text)["models"][0]["options"] == {
        "api_key": "***",
        "list": [{"Password": "***", "size": 3}],
    }


def test_the_description_masks_secrets_of_plugins(settings_file):
    """Also cookies, passphrases, and those within the string of a connection."""
    file = settings_file(
        """
        [plugins.p]
        cookie = "s3cret"
        passphrase = "s3cret"
        dsn = "host=db password='s3cret and s3cret' user=u; Pwd = s3cret, sslpassword=s3cret max=3"
        sum = "a == b and max=3"
        """
    )
    text = describe(load(file, {}, {}))
    assert "s3cret" not in text
    assert tomllib.loads(text)["plugins"]["p"] == {
        "cookie": "***",
        "passphrase": "***",
        "dsn": "host=db password=*** user=u; Pwd = ***, sslpassword=*** max=3",
        "sum": "a == b and max=3",
    }
