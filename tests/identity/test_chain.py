"""Several authenticators: the kind of a credential decides which one answers, and its answer is final."""

from __future__ import annotations

import pytest

from tokengrpc.config import ConfigError, Settings, TenantSettings
from tokengrpc.core.ports.auth import CredentialKind, Peer
from tokengrpc.core.tenant import Identity, Tenant
from tokengrpc.errors import Unauthenticated
from tokengrpc.identity.chain import AuthenticatorChain
from tokengrpc.identity.credentials import kind_of
from tokengrpc.identity.static_keys import StaticKeyAuthenticator, create
from tokengrpc.rpc.authenticators import create_authenticator

PLAIN, SECURE = Peer(address="ipv4:1.2.3.4:5"), Peer(certificate_names=("search.example",))
JWT = "eyJhbGciOiJub25lIn0.e30."


class Every:
    """Authenticator that takes every call, as plugins do that know nothing of kinds."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def authenticate(self, metadata, peer) -> Identity:
        return Identity(tenant=Tenant(name="every"))


class Only(Every):
    """Authenticator of one kind of credential, which accepts or refuses all of that kind."""

    def __init__(self, kind: CredentialKind, *, accepts: bool = True) -> None:
        self.kinds = frozenset({kind})
        self._accepts = accepts

    async def authenticate(self, metadata, peer) -> Identity:
        if not self._accepts:
            raise Unauthenticated("refused by the first")
        return Identity(tenant=Tenant(name="only"))


def bearer(token: str):
    return (("authorization", f"Bearer {token}"),)


@pytest.mark.parametrize(
    ("metadata", "peer", "kind"),
    [
        ((), PLAIN, "none"),
        ((("other", "x"),), SECURE, "certificate"),
        (bearer("key-1"), SECURE, "key"),
        (bearer(JWT), PLAIN, "jwt"),
        (bearer(JWT.replace(".", "")), PLAIN, "key"),
        (bearer(f"{JWT}.e30.e30"), PLAIN, "key"),
        (bearer("tg_abc_def"), PLAIN, "database_key"),
        ((("authorization", f"bEARER   {JWT} "),), PLAIN, "jwt"),
        ((("authorization", ""),), SECURE, "other"),
        ((("authorization", b"Bearer key-1"),), SECURE, "other"),
        ((("authorization", "Basic a2V5"),), SECURE, "other"),
        ((("authorization", "Basic a2V5"), *bearer("key-1")), SECURE, "other"),
        ((*bearer("key-1"), *bearer(JWT)), SECURE, "key"),
    ],
)
def test_the_form_says_the_kind(metadata, peer, kind):
    """Of the first `authorization`. A certificate counts where there is none at all."""
    assert kind_of(metadata, peer) == kind


async def test_a_refusal_is_final():
    """The key would be known to the second authenticator."""
    static = StaticKeyAuthenticator([(Tenant(name="search"), JWT)])
    assert (await static.authenticate(bearer(JWT), PLAIN)).tenant.name == "search"
    chain = AuthenticatorChain({"jwt": Only(CredentialKind.JWT, accepts=False), "static": static})
    with pytest.raises(Unauthenticated, match="refused by the first"):
        await chain.authenticate(bearer(JWT), PLAIN)


async def test_each_kind_has_its_authenticator():
    """A certificate is not looked at if an `authorization` is sent, however wrong."""
    static = StaticKeyAuthenticator([(Tenant(name="search"), "key-1")])
    chain = AuthenticatorChain(
        {"jwt": Only(CredentialKind.JWT), "static": static, "certificate": Only(CredentialKind.CERTIFICATE)}
    )
    for metadata, tenant in ((bearer(JWT), "only"), (bearer("key-1"), "search"), ((), "only")):
        assert (await chain.authenticate(metadata, SECURE)).tenant.name == tenant
    for metadata, peer in ((bearer("key-2"), SECURE), ((("authorization", ""),), SECURE), ((), PLAIN)):
        with pytest.raises(Unauthenticated, match="authorization"):
            await chain.authenticate(metadata, peer)


async def test_what_takes_everything_may_come_last():
    """It answers what the others do not take."""
    chain = AuthenticatorChain({"jwt": Only(CredentialKind.JWT, accepts=False), "own": Every()})
    assert (await chain.authenticate((), PLAIN)).tenant.name == "every"
    with pytest.raises(Unauthenticated):
        await chain.authenticate(bearer(JWT), PLAIN)


def test_an_authenticator_that_is_never_asked_is_an_error():
    """One line says which ones are in the wrong order."""
    static = StaticKeyAuthenticator([(Tenant(name="search"), "key-1")])
    with pytest.raises(ConfigError) as caught:
        AuthenticatorChain({"static": static, "jwt": Only(CredentialKind.JWT)})
    assert str(caught.value) == (
        "authenticator: `jwt` is never asked, because `static` before it takes all that it takes; "
        "name `jwt` first"
    )


class Recorded(Every):
    """Authenticator that notes its start and its end, and may fail to start."""

    def __init__(self, name: str, notes: list[str], *, fails: bool = False) -> None:
        self.kinds = frozenset({CredentialKind(name)})
        self._name, self._notes, self._fails = name, notes, fails

    async def start(self) -> None:
        if self._fails:
            raise ConfigError("it cannot start")
        self._notes.append(f"{self._name} started")

    async def close(self) -> None:
        self._notes.append(f"{self._name} closed")


async def test_all_are_started_and_closed():
    """They are closed in the opposite order."""
    notes: list[str] = []
    chain = AuthenticatorChain({name: Recorded(name, notes) for name in ("jwt", "key")})
    await chain.start()
    await chain.close()
    assert notes == ["jwt started", "key started", "key closed", "jwt closed"]


async def test_a_failed_start_closes_what_has_started():
    """The server closes only what has started as a whole."""
    notes: list[str] = []
    chain = AuthenticatorChain({"jwt": Recorded("jwt", notes), "key": Recorded("key", notes, fails=True)})
    with pytest.raises(ConfigError):
        await chain.start()
    assert notes == ["jwt started", "jwt closed"]


def test_static_keys_beside_others_are_never_open(monkeypatch):
    """Without tenants, the default server lets everybody in. In a chain, that would be a hole."""
    assert create("static", {}, Settings()).kinds == frozenset(CredentialKind)
    with pytest.raises(ConfigError, match="`static` needs a tenant with a key"):
        create("static", {}, Settings(authenticator="jwt,static"))
    monkeypatch.setenv("SEARCH_KEY", "s")
    tenants = (TenantSettings(name="search", key_env="SEARCH_KEY"), TenantSettings(name="mail"))
    made = create("static", {}, Settings(authenticator="jwt,static", tenants=tenants))
    assert CredentialKind.NONE not in made.kinds


def test_unknown_authenticators_are_named():
    """In one line."""
    with pytest.raises(ConfigError, match=r"authenticator: `nobody` is not installed"):
        create_authenticator(Settings(authenticator="nobody, static"))
