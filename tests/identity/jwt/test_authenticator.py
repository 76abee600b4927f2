"""Tokens: which are accepted, as whom, and why others are refused."""

from __future__ import annotations

import time

import msgspec
import pytest

from tests.support.issuer import AUDIENCE, ISSUER, Issuer, make_key, part, signed
from tokengrpc.config import Settings, TenantSettings
from tokengrpc.core.ports.auth import Peer
from tokengrpc.core.tenant import ALL_SCOPES, TENANT_SCOPES, Scope
from tokengrpc.errors import Unauthenticated
from tokengrpc.identity.jwt import create
from tokengrpc.identity.jwt.verification_keys import ALGORITHMS
from tokengrpc.identity.tenants import SettingsTenants

HERE = Peer()
TENANTS = Settings(
    authenticator="jwt",
    tenants=(TenantSettings(name="search", models=("builtin",)), TenantSettings(name="root", admin=True)),
)
NAMES = {"issuer": ISSUER, "audience": AUDIENCE}


def bearer(token: str):
    return (("authorization", f"Bearer {token}"),)


@pytest.fixture
def issuer():
    return Issuer("ES256", "RS256")


@pytest.fixture
def accepting(issuer, tmp_path):
    """Returns a function that starts an authenticator. It returns one that sends it a token."""

    async def start(**options):
        file = issuer.write(tmp_path / "jwks.json")
        made = create("jwt", {**NAMES, "jwks": str(file), **options}, TENANTS)
        made.use_tenants(SettingsTenants(TENANTS))
        await made.start()

        async def send(token: str):
            return await made.authenticate(bearer(token), HERE)

        return send

    return start


async def refusal(sent) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await sent
    message = str(caught.value)
    assert message.startswith("the token in `authorization` is refused, because ")
    assert message.endswith(": get a new one")
    return message.removeprefix("the token in `authorization` is refused, because ").removesuffix(
        ": get a new one"
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_each_algorithm_verifies(accepting, issuer, algorithm):
    """If it is allowed. With a key of its type, and no other."""
    issuer.add(algorithm, algorithm)
    send = await accepting(algorithms=[algorithm])
    identity = await send(issuer.token(algorithm))
    assert (identity.tenant.name, identity.tenant.models) == ("search", {"builtin"})
    assert (identity.subject, identity.scopes) == ("job-7", None)
    for other in issuer.keys.keys() - {algorithm}:
        assert await refusal(send(issuer.token(other))) in {
            "its algorithm is not one that this server accepts",
            "the issuer has no such key",
        }


# When the tests were collected, which may be long before they run.
NOW = int(time.time())
FALSE_CLAIMS = {
    "another issuer": ({"iss": "https://other.example"}, "its claim iss is not valid here or now"),
    "an issuer that begins so": ({"iss": f"{ISSUER}.evil.example"}, "its claim iss is not valid here or now"),
    "no issuer": ({"iss": None}, "it lacks the claim iss"),
    "another audience": ({"aud": "other"}, "its claim aud is not valid here or now"),
    "other audiences": ({"aud": ["a", "b"]}, "its claim aud is not valid here or now"),
    "part of the audience": ({"aud": AUDIENCE[:-1]}, "its claim aud is not valid here or now"),
    "no audience": ({"aud": None}, "it lacks the claim aud"),
    "expired": ({"exp": NOW - 31}, "it has expired"),
    "no expiry": ({"exp": None}, "it lacks the claim exp"),
    "an expiry in text": ({"exp": "4102444800"}, "its claim exp is not valid here or now"),
    "a true expiry": ({"exp": True}, "its claim exp is not valid here or now"),
    "not yet valid": ({"nbf": NOW + 6000}, "its claim nbf is not valid here or now"),
    "issued in the future": (
        {"iat": NOW + 6000, "exp": NOW + 9000},
        "its claim iat is not valid here or now",
    ),
    "valid for too long": ({"exp": NOW + 100_000}, "it is valid for longer than 86400 s"),
    "valid for too long, undated": (
        {"exp": NOW + 100_000, "iat": None},
        "it is valid for longer than 86400 s",
    ),
    "no tenant": ({"tenant": None}, "it lacks the claim tenant"),
    "an unknown tenant": ({"tenant": "nobody"}, "its tenant is unknown to this server"),
    "several tenants": ({"tenant": ["search"]}, "its tenant is unknown to this server"),
    "a numbered tenant": ({"tenant": 7}, "its tenant is unknown to this server"),
    "a long tenant": ({"tenant": "search" * 100}, "its tenant is unknown to this server"),
}


@pytest.mark.parametrize(("claims", "why"), FALSE_CLAIMS.values(), ids=FALSE_CLAIMS)
async def test_false_claims_are_refused(accepting, issuer, claims, why):
    """The caller learns which claim it is, and nothing that the token says is repeated."""
    send = await accepting()
    assert await refusal(send(issuer.token(**claims))) == why
    await send(issuer.token())


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": ["other", AUDIENCE]},
        {"exp": -5},
        {"nbf": 25},
        {"iat": 25},
        {"iat": None},
        {"sub": None},
        {"exp": 600.5},
        {"now": 1, "leeway": 2, "anything": {"else": []}},
    ],
)
async def test_good_claims_are_accepted(accepting, issuer, claims):
    """Clocks may differ by the leeway. Unknown claims are ignored. Times are in seconds from now."""
    send = await accepting()
    now = int(time.time())
    claims |= {name: now + claims[name] for name in ("exp", "nbf", "iat") if claims.get(name) is not None}
    assert (await send(issuer.token(**claims))).tenant.name == "search"


async def test_an_expiry_that_is_no_number_is_refused(accepting, issuer):
    """NaN compares as false with everything, so a naive check never finds it expired."""
    send = await accepting()
    _, key = issuer.keys["ES256"]
    for text in ("NaN", "Infinity", "1e999"):
        claims = msgspec.json.encode(issuer.claims(exp=1)).replace(b'"exp":1', f'"exp":{text}'.encode())
        assert text.encode() in claims
        token = signed(claims, key, {"alg": "ES256", "kid": "ES256"})
        assert await refusal(send(token)) in {"it is malformed", "its claim exp is not valid here or now"}


async def test_only_keys_of_the_issuer_count(accepting, issuer):
    """Not those that a token has with it or refers to, nor a signature without a key."""
    send = await accepting()
    own = make_key("ES256")
    public = own.as_dict(private=False)
    claims = issuer.claims()
    for header, why in (
        ({"jwk": public}, "its signature is wrong"),
        ({"jwk": public, "kid": "own"}, "the issuer has no such key"),
        ({"jku": "https://evil.example/jwks"}, "its signature is wrong"),
        ({"x5u": "https://evil.example/cert"}, "its signature is wrong"),
        ({"kid": "../../../../dev/null"}, "the issuer has no such key"),
        ({"kid": ""}, "the issuer has no such key"),
        ({"kid": None}, "it is malformed"),
        ({"kid": ["ES256"]}, "it is malformed"),
        ({"crit": ["exp"], "exp": 1}, "it is malformed"),
        ({"crit": ["b64"], "b64": False}, "it has an extension that this server does not know"),
        ({"b64": True}, "it has an extension that this server does not know"),
        ({"typ": "logout+jwt"}, "it is of another type, and not for calls"),
        ({"typ": 7}, "it is malformed"),
    ):
        token = signed(claims, own, {"alg": "ES256", "kid": "ES256", **header})
        assert await refusal(send(token)) == why
    good, key = issuer.token(), issuer.keys["ES256"][1]
    head, body, signature = good.split(".")
    assert await refusal(send(f"{head}.{body}.")) == "its signature is wrong"
    assert await refusal(send(f"{part({'alg': 'none'})}.{body}.")) == (
        "its algorithm is not one that this server accepts"
    )
    assert (
        await refusal(send(f"{head}.{part(issuer.claims(tenant='root'))}.{signature}"))
        == "its signature is wrong"
    )
    extended = signed(claims, key, {"alg": "ES256", "kid": "ES256", "crit": ["b64"], "b64": True})
    assert "extension" in await refusal(send(extended))
    # The right key is found where the token's own hints are ignored.
    await send(signed(claims, key, {"alg": "ES256", "kid": "ES256", "jku": "https://evil.example"}))


async def test_scopes_are_those_of_the_claim(accepting, issuer):
    """As text or a list. Words that are no scopes are ignored; without the claim, there are none."""
    send = await accepting(scope_claim="scope")
    for told, scopes in (
        ("generate read_usage openid", TENANT_SCOPES),
        (["generate", "admin", 7], {Scope.GENERATE, Scope.ADMIN}),
        ("GENERATE", set()),
        (7, set()),
        (None, set()),
    ):
        assert (await send(issuer.token(scope=told))).scopes == scopes
    send = await accepting(scope_claim="scp", scopes={"tokens.run": "generate"})
    identity = await send(issuer.token(scp=["tokens.run", "admin"], tenant="root"))
    assert identity.scopes == {Scope.GENERATE}
    assert not identity.may(Scope.ADMIN), "the tenant is an admin, and the token is not"


async def test_tokens_without_scopes_may_what_the_tenant_may(accepting, issuer):
    """If the settings name no claim for them."""
    send = await accepting()
    root = await send(issuer.token(tenant="root"))
    assert {scope for scope in ALL_SCOPES if root.may(scope)} == ALL_SCOPES


async def test_unknown_tenants_can_be_created(accepting, issuer):
    """With the limits of a template. Known ones keep their own, and odd names are refused."""
    send = await accepting(unknown_tenants="create", default_tenant={"max_generations": 3})
    new = (await send(issuer.token(tenant="new-1"))).tenant
    assert (new.name, new.max_generations, new.admin) == ("new-1", 3, False)
    assert (await send(issuer.token())).tenant.models == {"builtin"}
    for odd in ("", "a/b", "a b", "x" * 65, "é"):
        assert await refusal(send(issuer.token(tenant=odd))) in {
            "its tenant is unknown to this server",
            "its claim tenant is not valid here or now",
        }


async def test_required_claims_are_required(accepting, issuer):
    """Whatever they are called, also as arguments of the library."""
    send = await accepting(required_claims=["jti", "now"])
    assert await refusal(send(issuer.token(jti="1"))) == "it lacks the claim now"
    await send(issuer.token(jti="1", now=0))


async def test_garbage_is_refused(accepting, issuer):
    """Whatever only looks like a token, and what is larger than any token."""
    send = await accepting()
    head, body, signature = issuer.token().split(".")
    for header, claims, signed_with in (
        ("eyJ", "", ""),
        (head, "", ""),
        (head, body, "!"),
        (head.replace("eyJ", "eyK", 1), body, signature),
        (part([1]), body, signature),
        (part("alg"), body, signature),
        (part({}), body, signature),
        (head, part(b"[" * 3000 + b"]" * 3000), signature),
        (part(b'{"alg":' + b"[" * 2000 + b"]" * 2000 + b"}"), body, signature),
        (part({"alg": "ES256", "kid": [[[]]]}), body, signature),
        (part({"alg": ["ES256"]}), body, signature),
    ):
        token = f"{header}.{claims}.{signed_with}"
        with pytest.raises(Unauthenticated):
            await send(token)
    padded = issuer.token(note="x" * 13_000)
    assert await refusal(send(padded)) == "it has more than 12288 bytes"
