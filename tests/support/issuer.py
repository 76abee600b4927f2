"""An issuer of tokens: it signs them, and serves its public keys over HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from joserfc.jwk import Key

ISSUER, AUDIENCE = "https://issuer.example", "tokengrpc"
_RSA = RSAKey.generate_key(2048)
"""Generated once: it takes a tenth of a second."""


def make_key(algorithm: str) -> Key:
    """Returns a key for an algorithm. All RSA keys of a process are the same one."""
    if algorithm.startswith("ES"):
        return ECKey.generate_key({"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[algorithm])
    if algorithm in {"EdDSA", "Ed25519"}:
        return OKPKey.generate_key("Ed25519")
    return _RSA


class Registry(jws.JWSRegistry):
    """Signs with any algorithm and any header: what a server must refuse has to be made first."""

    def __init__(self) -> None:
        super().__init__(algorithms=list(self.algorithms), strict_check_header=False)

    def get_alg(self, name: str) -> Any:
        """Returns an algorithm, without warnings about weak ones."""
        return self.algorithms[name]

    def check_header(self, header: Mapping[str, Any]) -> None:
        """Accepts every header."""


def part(value: object) -> str:
    """Returns a value as a part of a token: JSON, or bytes as they are, in base64url."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """Issuer with keys by `kid`. While it is open, `url` serves their public parts.

    `answer` is called instead, if it is set. `fetches` counts requests.
    """

    def __init__(self, *algorithms: str) -> None:
        """Makes a key, named after its algorithm, for each of them; ES256 if none is given."""
        self.keys = {name: (name, make_key(name)) for name in algorithms or ("ES256",)}
        self.fetches = 0
        self.answer: Any = None
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/jwks", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await self._listen(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    async def _listen(self, port: int) -> None:
        assert self._runner is not None
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/jwks"

    async def leave(self) -> None:
        """Stops serving: connections are refused."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _serve(self, _request: web.Request) -> web.StreamResponse:
        self.fetches += 1
        if self.answer is not None:
            response: web.StreamResponse = await self.answer(_request)
            return response
        return web.json_response(self.jwks())

    def jwks(self) -> dict[str, Any]:
        """Returns the public keys."""
        return {
            "keys": [
                {**key.as_dict(private=False), "kid": kid, "alg": algorithm, "use": "sig"}
                for kid, (algorithm, key) in self.keys.items()
            ]
        }

    def write(self, path: Path) -> Path:
        """Writes the public keys into a file."""
        path.write_text(json.dumps(self.jwks()))
        return path

    def add(self, kid: str, algorithm: str = "ES256") -> None:
        """Adds a key."""
        self.keys[kid] = (algorithm, make_key(algorithm))

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Returns good claims of the tenant `search`. Those that are changed to None are left out."""
        now = int(time.time())
        good = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "job-7",
            "tenant": "search",
            "iat": now,
            "exp": now + 300,
        }
        return {name: value for name, value in {**good, **changed}.items() if value is not None}

    def token(self, kid: str = "", *, header: Mapping[str, Any] | None = None, **claims: Any) -> str:
        """Returns a token that is signed with a key, by default the first one."""
        kid = kid or next(iter(self.keys))
        algorithm, key = self.keys[kid]
        return signed(self.claims(**claims), key, {"alg": algorithm, "kid": kid, **(header or {})})


def signed(claims: object, key: Key, header: Mapping[str, Any]) -> str:
    """Returns a token with any claims and header."""
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    algorithm = Registry().get_alg(str(header["alg"]))
    signing = f"{part({'typ': 'JWT', **header})}.{part(payload)}"
    return f"{signing}.{part(algorithm.sign(signing.encode(), key))}"


async def hang(_request: web.Request) -> web.StreamResponse:
    """Answer of an issuer that never comes."""
    await asyncio.Event().wait()
    raise AssertionError
