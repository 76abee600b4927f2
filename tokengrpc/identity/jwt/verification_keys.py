"""Public keys of an issuer: reads a JWKS, and chooses the one key that a token may be signed with."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, OKPKey, RSAKey

if TYPE_CHECKING:
    from joserfc.jwk import Key

MAX_BYTES = 256 * 1024
"""Size of a JWKS. Those of large issuers have some KiB."""
_MAX_KEYS = 100
_RSA_CHARACTERS = range(342, 1367)
"""Length of an RSA modulus of 2,048 to 8,192 bits in base64url."""


class _Fit(NamedTuple):
    """The type of a key, and its curve if it has one."""

    kind: type[ECKey | OKPKey | RSAKey]
    curve: str = ""


ALGORITHMS: dict[str, _Fit] = {
    "ES256": _Fit(ECKey, "P-256"),
    "ES384": _Fit(ECKey, "P-384"),
    "ES512": _Fit(ECKey, "P-521"),
    "Ed25519": _Fit(OKPKey, "Ed25519"),
    "EdDSA": _Fit(OKPKey, "Ed25519"),
    "PS256": _Fit(RSAKey),
    "PS384": _Fit(RSAKey),
    "PS512": _Fit(RSAKey),
    "RS256": _Fit(RSAKey),
    "RS384": _Fit(RSAKey),
    "RS512": _Fit(RSAKey),
}
"""The algorithms that a setting may allow, with the keys that they take. All of them are asymmetric."""


class VerificationKeys:
    """The keys of a JWKS that can verify signatures. Secrets, private keys and others are left out."""

    def __init__(self, keys: list[Key]) -> None:
        self._keys = tuple(keys)

    @classmethod
    def parse(cls, text: bytes) -> VerificationKeys:
        """Reads a JWKS. Raises ValueError, with a phrase that says why, if it has no key to verify with."""
        try:
            listed = msgspec.json.decode(text, type=_KeySet).keys
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise ValueError("it is not a JWKS") from None
        if len(listed) > _MAX_KEYS:
            raise ValueError(f"it has more than {_MAX_KEYS} keys")
        keys = [key for key in map(_imported, listed) if key is not None]
        if not keys:
            raise ValueError("it has no public key for signatures")
        return cls(keys)

    def find(self, kid: str | None, algorithm: str) -> Key | None:
        """Returns the key that a token names; None if there is none for its algorithm.

        A token without `kid` has a key only if there is one alone for its algorithm.
        """
        found = [key for key in self._keys if kid in (None, key.kid) and _fits(key, algorithm)]
        return found[0] if len(found) == 1 else None


class _KeySet(msgspec.Struct):
    keys: list[dict[str, object]]


def _imported(entry: dict[str, object]) -> Key | None:
    """Returns a public key; None for anything else, as RFC 7517 (5) wants of what is not understood."""
    if entry.get("kty") == "oct" or "d" in entry or entry.get("use", "sig") != "sig":
        return None
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    if entry.get("kty") == "RSA" and len(str(entry.get("n"))) not in _RSA_CHARACTERS:
        return None
    try:
        return JWKRegistry.import_key(entry)  # type: ignore[arg-type] # it checks the members itself
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _fits(key: Key, algorithm: str) -> bool:
    kind, curve = ALGORITHMS[algorithm]
    if not isinstance(key, kind) or key.alg not in (None, algorithm):
        return False
    return not curve or (isinstance(key, ECKey | OKPKey) and key.curve_name == curve)
