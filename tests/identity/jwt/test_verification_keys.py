"""Which keys of a JWKS verify signatures, and of which tokens."""

from __future__ import annotations

import msgspec
import pytest
from joserfc.jwk import OctKey

from tests.support.issuer import make_key, part
from tokengrpc.identity.jwt.verification_keys import VerificationKeys


def parsed(*entries) -> VerificationKeys:
    return VerificationKeys.parse(msgspec.json.encode({"keys": entries}))


def test_only_public_keys_for_signatures_are_used():
    """Secrets, private keys, keys for encryption, short keys and what is not understood are left out."""
    good = make_key("ES256").as_dict(private=False)
    for other in (
        OctKey.generate_key(256).as_dict(private=True),
        make_key("ES256").as_dict(private=True),
        {**good, "use": "enc"},
        {**good, "key_ops": ["sign"]},
        {**good, "key_ops": "verify"},
        {**good, "x": "!"},
        {**good, "crv": "P-999"},
        {**good, "kty": 7},
        {"kty": "RSA", "e": "AQAB", "n": part(b"\xff" * 128)},
        {"kty": "RSA", "e": "AQAB", "n": part(b"\xff" * 1025)},
        {"kty": "new"},
        {},
    ):
        with pytest.raises(ValueError, match="it has no public key for signatures"):
            parsed({**other, "kid": "other"})
        keys = parsed({**other, "kid": "other"}, {**good, "kid": "good"})
        for algorithm in ("ES256", "RS256", "EdDSA"):
            assert keys.find("other", algorithm) is None
        assert keys.find("good", "ES256") is not None


def test_a_token_without_a_key_id_needs_a_single_key():
    """Of its algorithm. Two keys of one name are none."""
    one, two = (make_key("ES256").as_dict(private=False) for _ in range(2))
    rsa = make_key("RS256").as_dict(private=False)
    assert parsed(one, rsa).find(None, "ES256") is not None
    assert parsed(one, two).find(None, "ES256") is None
    assert parsed({**one, "kid": "a"}, {**two, "kid": "a"}).find("a", "ES256") is None
    assert parsed({**one, "kid": "a"}, {**rsa, "kid": "a"}).find("a", "RS256") is not None


def test_a_key_is_for_its_own_algorithm():
    """If it says so, no other one of the same type."""
    rsa = {**make_key("RS256").as_dict(private=False), "kid": "a"}
    assert parsed({**rsa, "alg": "RS256"}).find("a", "PS256") is None
    assert parsed(rsa).find("a", "PS256") is not None
    for curve in ("ES384", "ES512"):
        assert parsed({**make_key("ES256").as_dict(private=False), "kid": "a"}).find("a", curve) is None
