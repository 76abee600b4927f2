"""Credentials that must not let anybody in: what Hypothesis makes of good tokens and keys."""

from __future__ import annotations

import hmac
import json
import time
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from joserfc.jwk import ECKey, RSAKey

from tests.support.issuer import AUDIENCE, ISSUER, Issuer, make_key, part, signed
from tests.support.ledgers import sqlite_ledger
from tests.support.tenant_stores import api_key
from tokengrpc.core.tenant import Scope, Tenant
from tokengrpc.identity.api_keys import digest_of, new_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hypothesis.strategies import DrawFn, SearchStrategy

STATIC_KEY = "static-key-of-mail"
STORED_KEYS = {name: new_key() for name in ("good", "admin", "expired", "revoked", "gone", "unknown")}
"""Keys of the database. `store_keys` stores all but the last one."""
PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60)
_OTHER = make_key("ES256")
"""A key that the issuer does not have."""
_KIDS = st.sampled_from(
    [
        "", "other", "../../../../dev/null", "/proc/self/environ", "file:///etc/passwd",
        "https://evil.example/jwks", "key' OR '1'='1", "key\x00", "ES256\n", "es256", "x" * 2000,
    ]
)  # fmt: skip
_WRONG_NUMBERS: SearchStrategy[Any] = st.sampled_from(
    [True, "1", "", [], {}, None, "4102444800", -1, 0, 1e300, -1e300]
)


_ODD_HEADERS: list[dict[str, Any]] = [
    {"crit": ["exp"]},
    {"crit": []},
    {"crit": ["kid"]},
    {"crit": ["b64"], "b64": True},
    {"b64": True},
    {"typ": "logout+jwt"},
    {"typ": "JWE"},
    {"typ": ["JWT"]},
    {"kid": None},
    {"kid": 7},
    {"kid": ["ES256"]},
    {"kid": "RS256"},
    {"kid": "x" * 9_000},
]


_FUTURE = st.integers(60, 10**12)
_ODD_TIMES = st.sampled_from([True, "0", [], {}])
_FALSE_CLAIMS: dict[str, SearchStrategy[Any]] = {
    "iss": st.one_of(PRINTABLE, st.sampled_from([f"{ISSUER}/", ISSUER.upper(), [ISSUER], None, {}])),
    "aud": st.one_of(PRINTABLE, st.sampled_from([[], [f"{AUDIENCE}x"], AUDIENCE.upper(), None, {}, 7])),
    "exp": _WRONG_NUMBERS,
    "nbf": _ODD_TIMES,
    "iat": _ODD_TIMES,
    "tenant": st.one_of(
        PRINTABLE.filter(lambda name: name not in {"search", "mail", "lake"}),
        st.sampled_from([["search"], {"search": 1}, 7, True, None, "Search", "mail "]),
    ),
}
# In seconds from now. What Hypothesis draws must not depend on the time itself.
_FALSE_TIMES = {
    "exp": st.one_of(st.integers(-(10**9), -60), st.integers(90_000, 10**12)),
    "nbf": _FUTURE,
    "iat": _FUTURE,
}


def claims(draw: DrawFn, issuer: Issuer) -> dict[str, Any]:
    """Returns claims of which one is false."""
    if draw(st.booleans()):
        name = draw(st.sampled_from(sorted(_FALSE_TIMES)))
        return issuer.claims(**{name: int(time.time()) + draw(_FALSE_TIMES[name])})
    name = draw(st.sampled_from(sorted(_FALSE_CLAIMS)))
    return issuer.claims(**{name: draw(_FALSE_CLAIMS[name])})


def changed(draw: DrawFn, text: str, first: int = 0) -> tuple[int, str]:
    """Returns a place in a text, and another character than the one that is there.

    Texts differ from run to run, so what is drawn must not depend on what they contain.
    """
    at = first + draw(st.integers(0, 400)) % (len(text) - first)
    return at, chr(33 + (ord(text[at]) - 33 + draw(st.integers(1, 93))) % 94)


def false_claim(draw: DrawFn, issuer: Issuer) -> str:
    """Returns a token that the issuer has signed for another place, time or tenant."""
    algorithm, key = issuer.keys["ES256"]
    return signed(claims(draw, issuer), key, {"alg": algorithm, "kid": "ES256"})


def none_algorithm(draw: DrawFn, issuer: Issuer) -> str:
    """Returns a token without a signature, or with one that is not checked."""
    name = draw(st.sampled_from(["none", "None", "NONE", "nOnE", "", "null"]))
    header = part({"alg": name, "kid": "ES256", "typ": "JWT"})
    return f"{header}.{part(issuer.claims())}.{draw(st.sampled_from(['', 'AA', part(b'signature')]))}"


def confused_key(draw: DrawFn, issuer: Issuer) -> str:
    """Returns a token whose HMAC has a public key of the issuer as its secret."""
    kid = draw(st.sampled_from(["ES256", "RS256"]))
    key = issuer.keys[kid][1]
    assert isinstance(key, ECKey | RSAKey)
    as_json = json.dumps(key.as_dict(private=False)).encode()
    secret = draw(st.sampled_from([key.as_pem(private=False), key.as_der(private=False), as_json, b""]))
    bits = draw(st.sampled_from(["256", "384", "512"]))
    text = f"{part({'alg': f'HS{bits}', 'kid': kid})}.{part(issuer.claims())}"
    return f"{text}.{part(hmac.digest(secret, text.encode(), f'sha{bits}'))}"


def strange_key(draw: DrawFn, issuer: Issuer) -> str:
    """Returns a token that somebody else has signed, with hints to the own key."""
    public = _OTHER.as_dict(private=False)
    hints: dict[str, Any] = draw(
        st.sampled_from(
            [
                {},
                {"jwk": public},
                {"jku": "https://evil.example/jwks"},
                {"x5u": "https://evil.example/cert"},
                {"x5c": ["MIIB"]},
                {"jwk": public, "jku": issuer.url},
            ]
        )
    )
    kid = draw(st.one_of(st.just("ES256"), _KIDS, PRINTABLE))
    return signed(issuer.claims(), _OTHER, {"alg": "ES256", "kid": kid, **hints})


def odd_header(draw: DrawFn, issuer: Issuer) -> str:
    """Returns a token of the issuer whose header has what this server must not pass over."""
    _, key = issuer.keys["ES256"]
    header = draw(st.sampled_from(_ODD_HEADERS))
    return signed(issuer.claims(), key, {"alg": "ES256", "kid": "ES256", **header})


def changed_token(draw: DrawFn, issuer: Issuer) -> str:
    """Returns a good token of which a character was changed, added or lost."""
    token = issuer.token()
    at, letter = changed(draw, token)
    before, after = token[:at], token[at + 1 :]
    inserted, replaced = before + letter + token[at:], before + letter + after
    return draw(st.sampled_from([replaced, before + after, inserted, before, f"{token}.{letter}"]))


def mixed_parts(draw: DrawFn, issuer: Issuer) -> str:
    """Returns a token made of the parts of several good ones."""
    tokens = [issuer.token(tenant=tenant, sub=tenant).split(".") for tenant in ("search", "mail")]
    three = st.lists(st.integers(0, 1), min_size=3, max_size=3)
    picked = draw(three.filter(lambda picks: picks[1] != picks[2]))
    return ".".join(tokens[which][place] for place, which in enumerate(picked))


def near_key(draw: DrawFn, _issuer: Issuer) -> str:
    """Returns a key that is nearly known, of no kind, or of the database."""
    key = STATIC_KEY
    others = [key[:-1], f"{key}x", key.upper(), key[::-1], f"{key},{key}", "tg_", "tg_x_y", "null", "*"]
    return draw(st.one_of(st.sampled_from(others), PRINTABLE.filter(lambda text: text != key)))


def stored_key(draw: DrawFn, _issuer: Issuer) -> str:
    """Returns a key of the database that is not valid any more, never was, or is mistyped."""
    bad = draw(st.sampled_from(["expired", "revoked", "gone", "unknown", "good"]))
    key = STORED_KEYS[bad]
    if bad != "good":
        return key
    at, letter = changed(draw, key, first=3)
    return key[:at] + letter + key[at + 1 :]


MAKERS: dict[str, Callable[[DrawFn, Issuer], str]] = {
    make.__name__: make
    for make in (
        false_claim,
        none_algorithm,
        confused_key,
        strange_key,
        odd_header,
        changed_token,
        mixed_parts,
        near_key,
        stored_key,
    )
}


_ODD_FORMS = [
    ("authorization", ""),
    ("authorization", f"Basic {STATIC_KEY}"),
    ("authorization", STATIC_KEY),
    ("authorization", f"Bearer{STATIC_KEY}"),
    ("x-authorization", f"Bearer {STATIC_KEY}"),
    ("proxy-authorization", f"Bearer {STATIC_KEY}"),
]


@st.composite
def false_metadata(draw: DrawFn, issuer: Issuer) -> list[tuple[str, str]]:
    """Returns the metadata of a call that must be refused, whatever comes after its first credential."""
    if draw(st.integers(0, 9)) == 0:
        return [draw(st.sampled_from(_ODD_FORMS))]
    token = MAKERS[draw(st.sampled_from(sorted(MAKERS)))](draw, issuer)
    scheme = draw(st.sampled_from(["Bearer", "bearer", "BEARER"]))
    false = ("authorization", f"{scheme} {token}".strip())
    good = ("authorization", f"Bearer {STATIC_KEY}")
    return draw(st.sampled_from([[false], [false, good]]))


async def store_keys(data_dir: Path) -> None:
    """Stores the keys of `STORED_KEYS`: the good one is the tenant `lake`'s, `admin` may administer alone."""
    ledger = sqlite_ledger(data_dir)
    await ledger.start()
    store = ledger.tenants
    await store.start()
    fields: dict[str, dict[str, Any]] = {
        "good": {},
        "admin": {"scopes": frozenset({Scope.ADMIN})},
        "expired": {"expire_time_ns": 1},
        "revoked": {},
        "gone": {"tenant": "gone"},
    }
    for tenant in ("lake", "gone"):
        await store.create_tenant(Tenant(name=tenant), "test")
    for name, more in fields.items():
        digest = digest_of(STORED_KEYS[name])
        await store.create_key(api_key(name, **{"tenant": "lake", "digest": digest, **more}), "test")
    await store.revoke_key("revoked", "test")
    await store.delete_tenant("gone", "test")
    await store.close()
    await ledger.close()
