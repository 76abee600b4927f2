"""Settings of tokens: what is refused at start, in one line."""

from __future__ import annotations

import pytest

from tests.support.issuer import AUDIENCE, ISSUER
from tokengrpc.config import ConfigError, Settings
from tokengrpc.identity.jwt import create

SERVER = Settings(authenticator="jwt")
NAMES = {"issuer": ISSUER, "audience": AUDIENCE}


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512", "none"])
def test_weak_algorithms_cannot_be_allowed(algorithm):
    """A public key would be the secret of HS256."""
    with pytest.raises(ConfigError, match=r"^plugins\.jwt\.algorithms\[0\]: must be one of ES256, .*$"):
        create("jwt", {**NAMES, "jwks": "x", "algorithms": [algorithm]}, SERVER)


WRONG = {
    "nothing": ({"issuer": None}, "plugins.jwt.issuer: required: text"),
    "unknown": ({"audiance": "x"}, "plugins.jwt.audiance: unknown key; did you mean `audience`?"),
    "a number": ({"leeway": 301}, "plugins.jwt.leeway: must be a number of at least 0 and at most 300"),
    "plaintext": (
        {"jwks": "http://issuer.example/jwks"},
        "plugins.jwt.jwks: must be https://, because whoever can change the keys can make tokens",
    ),
    "a password": (
        {"jwks": "https://me:secret@issuer.example/jwks"},
        "plugins.jwt.jwks: must be https://HOST/PATH, without user and password, or the path of a file",
    ),
    "another scheme": (
        {"jwks": "ftp://issuer.example/jwks"},
        "plugins.jwt.jwks: must be https://HOST/PATH, without user and password, or the path of a file",
    ),
    "an authority": ({"ca_file": "x"}, "plugins.jwt.ca_file: is for a URL, and jwks is a file; remove it"),
    "a short keep": (
        {"keep_time": 10},
        "plugins.jwt.keep_time: must be at least refresh_interval, which is 300",
    ),
    "a scope": (
        {"scope_claim": "scope", "scopes": {"x": "everything"}},
        "plugins.jwt.scopes.x: must be one of generate, read_usage, admin",
    ),
    "scopes alone": ({"scopes": {"x": "admin"}}, "plugins.jwt.scopes: needs a scope_claim"),
    "a template alone": (
        {"default_tenant": {"max_generations": 1}},
        'plugins.jwt.default_tenant: needs unknown_tenants = "create"',
    ),
    "an admin": (
        {"unknown_tenants": "create", "default_tenant": {"admin": True}},
        "plugins.jwt.default_tenant.admin: cannot be set here; it belongs in [[tenants]]",
    ),
    "a limit": (
        {"unknown_tenants": "create", "default_tenant": {"max_generations": -1}},
        "plugins.jwt.default_tenant.max_generations: must be a whole number of at least 0 and at most "
        "1,000,000,000",
    ),
}


@pytest.mark.parametrize(("changed", "message"), WRONG.values(), ids=WRONG)
def test_wrong_settings_are_one_line(changed, message):
    """It has the key, and what is allowed."""
    options = {**NAMES, "jwks": "jwks.json", **changed}
    with pytest.raises(ConfigError) as caught:
        create("jwt", {key: value for key, value in options.items() if value is not None}, SERVER)
    assert str(caught.value) == message


def test_plaintext_is_for_this_machine_and_meshes():
    """Elsewhere, whoever can change what the URL returns can make tokens."""
    for url in ("http://127.0.0.1:8080/jwks", "http://localhost/jwks", "http://[::1]/jwks"):
        create("jwt", {**NAMES, "jwks": url}, SERVER)
    meshed = Settings(authenticator="jwt", insecure=True)
    create("jwt", {**NAMES, "jwks": "http://issuer.identity.svc/jwks"}, meshed)
