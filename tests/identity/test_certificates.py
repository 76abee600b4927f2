"""Client certificates: whose name is which tenant, on real connections as well."""

from __future__ import annotations

import grpc
import pytest
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.harness import collect, failing, serving
from tests.support.tls import Authority
from tokengrpc.client.stubs import aio_stub
from tokengrpc.client.tls import tls_credentials
from tokengrpc.config import ConfigError, Settings, TenantSettings, TLSSettings
from tokengrpc.core.ports.auth import Peer
from tokengrpc.core.tenant import Scope
from tokengrpc.errors import Unauthenticated
from tokengrpc.identity.certificates import create
from tokengrpc.identity.tenants import SettingsTenants

TLS = TLSSettings(cert_file="server.crt", client_ca_file="ca.crt")
SETTINGS = Settings(
    authenticator="certificate",
    tls=TLS,
    tenants=tuple(TenantSettings(name=n) for n in ("search", "mail", "root")),
)
ONE_TOKEN = pb.StreamTokensRequest(prompt="a", max_output_token_count=1)
ROWS = [
    {"name": "search.example", "tenant": "search"},
    {"name": "spiffe://example.org/ns/mail/*", "tenant": "mail"},
    {"name": "spiffe://example.org/*", "tenant": "search"},
    {"name": "spiffe://example.org/ns/mail/sa/root", "tenant": "root", "scopes": ["admin"]},
    {"name": "gone.example", "tenant": "gone"},
]


def made(*rows):
    authenticator = create("certificate", {"names": list(rows or ROWS)}, SETTINGS)
    authenticator.use_tenants(SettingsTenants(SETTINGS))
    return authenticator


async def caller(*names: str):
    return await made().authenticate((), Peer(certificate_names=names))


@pytest.mark.parametrize(
    ("names", "tenant"),
    [
        (("search.example",), "search"),
        (("other.example", "search.example"), "search"),
        (("spiffe://example.org/ns/mail/sa/sender",), "mail"),
        (("spiffe://example.org/ns/mail/x/y/z",), "mail"),
        (("spiffe://example.org/ns/mailer/sa/x",), "search"),
        (("spiffe://example.org/ns/mail/sa/root",), "root"),
    ],
)
async def test_a_name_is_a_tenant(names, tenant):
    """An exact name before a pattern, a longer pattern before a shorter one. The name is the subject."""
    identity = await caller(*names)
    assert identity.tenant.name == tenant
    assert identity.subject in names
    assert identity.scopes == (frozenset({Scope.ADMIN}) if tenant == "root" else None)


@pytest.mark.parametrize(
    "names",
    [
        ("other.example",),
        ("SEARCH.example",),
        ("search.example.evil.example",),
        ("spiffe://example.org",),
        ("spiffe://example.org/",),
        ("spiffe://example.org.evil.example/ns/mail/sa/x",),
        ("spiffe://evil.example/spiffe://example.org/ns/mail/x",),
        ("spiffe://example.org/ns/mail/../root",),
        ("spiffe://example.org//x",),
        ("x spiffe://example.org/ns/mail/sa/x",),
        ("spiffe://example.org/*/",),
        ("gone.example",),
        ("search.example", "spiffe://example.org/ns/mail/sa/x"),
        ("spiffe://example.org/ns/mail/sa/x", "spiffe://example.org/ns/mail/sa/root"),
    ],
)
async def test_other_names_are_refused(names):
    """So are certificates with names of several tenants, and those of tenants that are gone."""
    with pytest.raises(Unauthenticated) as caught:
        await caller(*names)
    assert str(caught.value).endswith(": use another")


NAME_RULE = "plugins.certificate.names[0].name: `*` may only end a SPIFFE id, such as "


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (None, "plugins.certificate.names: required: a list of tables, at least 1"),
        ([{"name": "a"}], "plugins.certificate.names[0].tenant: required: 1 to 128 characters of "),
        ([{"name": "*.a", "tenant": "a"}], NAME_RULE),
        ([{"name": "spiffe://*", "tenant": "a"}], NAME_RULE),
        ([{"name": "spiffe:///*", "tenant": "a"}], NAME_RULE),
        ([{"name": "spiffe://a/*/b", "tenant": "a"}], NAME_RULE),
        ([{"name": "spiffe://a/b*", "tenant": "a"}], NAME_RULE),
        ([ROWS[0], ROWS[0]], "plugins.certificate.names: a name occurs twice; each has one tenant"),
    ],
)
def test_wrong_rows_are_one_line(rows, message):
    """With the key, and what is allowed."""
    with pytest.raises(ConfigError) as caught:
        create("certificate", {} if rows is None else {"names": rows}, SETTINGS)
    assert str(caught.value).startswith(message)


def test_certificates_need_an_authority():
    """Without one, nobody's certificate is verified."""
    with pytest.raises(ConfigError, match=r"`certificate` needs tls\.client_ca_file"):
        create("certificate", {"names": ROWS}, Settings(authenticator="certificate"))


async def test_a_certificate_calls_as_its_tenant(tmp_path, monkeypatch):
    """Over TLS, with the alternative names as gRPC reads them. A key that is sent counts instead."""
    monkeypatch.setenv("MAIL_KEY", "mail-key")
    authority = Authority(tmp_path)
    server = authority.issue("server", "localhost", "127.0.0.1")
    tls = TLSSettings(cert_file=server.cert_file, key_file=server.key_file, client_ca_file=authority.file)
    tenants = (TenantSettings(name="search", models=()), TenantSettings(name="mail", key_env="MAIL_KEY"))
    settings = {
        "authenticator": "static,certificate",
        "plugins": {"certificate": {"names": ROWS}},
        "tenants": tenants,
        "tls": tls,
    }
    callers = {
        "search": authority.issue("search", "search.example"),
        "mail": authority.issue_uri("mail", "spiffe://example.org/ns/mail/sa/x"),
        None: authority.issue("stranger", "stranger.example"),
    }
    known, wrong = ({"metadata": (("authorization", f"Bearer {key}"),)} for key in ("mail-key", "other"))
    async with serving(**settings) as served:
        for tenant, pair in callers.items():
            credentials = tls_credentials(
                ca_file=authority.file, cert_file=pair.cert_file, key_file=pair.key_file
            )
            async with grpc.aio.secure_channel(served.target, credentials) as channel:
                stub = aio_stub(channel)

                async def billed(stub=stub, **call) -> str:
                    assert (await collect(stub.StreamTokens(ONE_TOKEN, **call))).code.name == "OK"
                    return list(served.ledger.records.values())[-1].tenant

                assert await billed(**known) == "mail"
                refused = await failing(stub.ListModels(pb.ListModelsRequest(), **wrong))
                assert refused.message.startswith("the key is unknown to this server")
                if tenant is None:
                    refused = await failing(stub.ListModels(pb.ListModelsRequest()))
                    assert refused.message.startswith("the names of the client certificate are unknown here")
                else:
                    assert await billed() == tenant
