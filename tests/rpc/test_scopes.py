"""What a credential may be used for, by service. Health needs none, reflection what the setting says."""

from __future__ import annotations

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tokenstreaming.v1 import token_stream_pb2 as pb
from tokenstreaming.v1 import usage_service_pb2 as usage_pb

from tests.support.harness import collect, failing, serving
from tests.support.usage_service import KEYS, TENANTS, as_tenant
from tokengrpc.client.stubs import aio_usage_stub
from tokengrpc.core.tenant import ALL_SCOPES, Identity, Scope, Tenant
from tokengrpc.rpc.scopes import SCOPES

OWN = usage_pb.ListUsageRecordsRequest()
THEIRS = usage_pb.ListUsageRecordsRequest(filter=usage_pb.UsageFilter(tenant="mail"))


class Scoped:
    """Authenticator whose callers have the scopes that they name in their metadata."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def authenticate(self, metadata, peer) -> Identity:
        named = dict(metadata).get("scopes")
        scopes = None if named is None else frozenset(map(Scope, named.split(",")))
        return Identity(tenant=Tenant(name="search", admin=True), scopes=scopes)


def having(*scopes: Scope):
    return {"metadata": (("scopes", ",".join(scopes)),)}


@pytest.fixture
async def served():
    async with serving(authenticator=Scoped()) as server:
        yield server


async def test_generations_need_their_scope(served):
    """All calls of TokenStream. Other scopes do not include it, not even the admin's."""
    for scope in (Scope.READ_USAGE, Scope.ADMIN):
        refused = await failing(served.stub.ListModels(pb.ListModelsRequest(), **having(scope)))
        assert (refused.code, refused.info.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_REQUIRED")
        assert refused.info.metadata["scope"] == "generate"
        refused = await collect(served.stream(**having(scope)))
        assert (refused.code, refused.info.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_REQUIRED")
    answer = await served.stub.ListModels(pb.ListModelsRequest(), **having(Scope.GENERATE))
    assert answer.models


async def test_usage_needs_its_scope(served):
    """That of other tenants needs the admin's, even if the tenant is an admin: the key is a lesser one."""
    usage = aio_usage_stub(served.channel)
    refused = await failing(usage.ListUsageRecords(OWN, **having(Scope.GENERATE)))
    assert refused.info.reason == "SCOPE_REQUIRED"
    await usage.ListUsageRecords(OWN, **having(Scope.READ_USAGE))
    refused = await failing(usage.ListUsageRecords(THEIRS, **having(Scope.READ_USAGE)))
    assert refused.info.reason == "ADMIN_REQUIRED"
    await usage.ListUsageRecords(THEIRS, **having(Scope.ADMIN))


async def test_credentials_without_scopes_have_the_tenants(served):
    """As keys of the settings have: an admin's may read all usage."""
    await aio_usage_stub(served.channel).ListUsageRecords(THEIRS)
    other = Identity(tenant=Tenant(name="search"))
    assert {scope for scope in ALL_SCOPES if other.may(scope)} == ALL_SCOPES - {Scope.ADMIN}


def test_each_service_has_scopes():
    """None of them is empty, which would let everybody in."""
    assert all(SCOPES.values())


@pytest.mark.parametrize(
    ("setting", "nobody", "known"),
    [
        ("open", "OK", "OK"),
        ("authenticated", "UNAUTHENTICATED", "OK"),
        ("off", "UNIMPLEMENTED", "UNIMPLEMENTED"),
    ],
)
async def test_reflection_is_for_whom_the_setting_says(monkeypatch, setting, nobody, known):
    """Health is for everybody in any case."""
    for name, variable in KEYS.items():
        monkeypatch.setenv(variable, f"{name}-secret")
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    async with serving(tenants=TENANTS, reflection=setting) as served:
        stub = reflection_pb2_grpc.ServerReflectionStub(served.channel)
        for more, expected in (({}, nobody), (as_tenant("a"), known), (as_tenant("x"), nobody)):
            outcome = await collect(stub.ServerReflectionInfo(iter([question]), **more))
            assert outcome.code.name == expected
            assert bool(outcome.messages) == (expected == "OK")
        check = health_pb2_grpc.HealthStub(served.channel).Check
        answer = await check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
