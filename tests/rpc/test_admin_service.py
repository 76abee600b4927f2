"""The AdminService on a real server: its contract, its bounds, and that changes count at once."""

from __future__ import annotations

import json
import time

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tokenstreaming.v1 import admin_service_pb2 as pb
from tokenstreaming.v1 import token_stream_pb2

from tests.support.admin_service import Administered, administered, having
from tests.support.harness import collect, failing, serving
from tokengrpc.client.stubs import aio_admin_stub
from tokengrpc.config import TenantSettings

ACME = pb.Tenant(
    name="acme",
    models=["builtin"],
    priority_ceiling=2,
    max_generations=3,
    requests_per_minute=600,
    tokens_per_minute=2**40,
    max_output_token_count=100,
    weight=3,
    model_limits=[pb.ModelLimits(model="builtin", max_generations=2)],
    budgets=[
        pb.Budget(tokens=10**9, period=pb.BUDGET_PERIOD_DAY, label_key="team"),
        pb.Budget(amount_micros=5_000_000, currency="EUR", period=pb.BUDGET_PERIOD_MONTH, model="builtin"),
    ],
)
STATIC = TenantSettings(name="static", key_env="STATIC_KEY")


@pytest.fixture
async def admin(tmp_path, monkeypatch):
    monkeypatch.setenv("STATIC_KEY", "static-secret")
    async with administered(tmp_path, tenants=(STATIC,)) as made:
        yield made


async def refused(admin: Administered, method: str, **fields):
    return await failing(admin.call(method, **fields))


def without_times(tenant: pb.Tenant) -> pb.Tenant:
    bare = pb.Tenant()
    bare.CopyFrom(tenant)
    bare.ClearField("create_time")
    bare.ClearField("update_time")
    return bare


async def test_a_tenant_lives_from_creation_to_deletion(admin: Administered):
    """What was created is read, listed, changed and deleted; the audit has all of it."""
    created = (await admin.call("CreateTenant", tenant=ACME)).tenant
    assert without_times(created) == ACME
    assert created.create_time == created.update_time != Timestamp()
    assert (await admin.call("GetTenant", name="acme")).tenant == created
    listed = (await admin.call("ListTenants")).tenants
    assert [tenant.name for tenant in listed] == ["acme", "ops"]
    wanted = pb.Tenant(name="acme", max_generations=1, weight=9)
    mask = FieldMask(paths=["max_generations", "budgets"])
    changed = (await admin.call("UpdateTenant", tenant=wanted, update_mask=mask)).tenant
    assert (changed.max_generations, changed.weight, list(changed.budgets)) == (1, 3, [])
    everything = await admin.call("UpdateTenant", tenant=pb.Tenant(name="acme"), update_mask={"paths": ["*"]})
    assert without_times(everything.tenant) == pb.Tenant(name="acme", weight=1, priority_ceiling=1)
    await admin.call("DeleteTenant", name="acme")
    entries = (await admin.call("ListAuditEntries", tenant="acme")).audit_entries
    assert [entry.action for entry in entries] == [
        "DeleteTenant",
        "UpdateTenant",
        "UpdateTenant",
        "CreateTenant",
    ]
    assert [entry.sequence for entry in entries] == [6, 5, 4, 3]
    assert all(entry.actor.startswith("ops/") for entry in entries)
    change = json.loads(entries[2].change)
    assert change["max_generations"] == {"old": 3, "new": 1}
    assert change["budgets"]["old"][0] == {"tokens": 10**9, "period": "day", "label_key": "team"}
    assert change.keys() == {"max_generations", "budgets"}


async def test_a_key_works_from_creation_to_revocation(admin: Administered):
    """At once on this server. Only the response to its creation has it."""
    await admin.call("CreateTenant", tenant=pb.Tenant(name="acme"))
    made = await admin.new_key(display_name="CI")
    assert made.key.startswith(f"{made.api_key.prefix}_")
    assert list(made.api_key.scopes) == [pb.SCOPE_GENERATE, pb.SCOPE_READ_USAGE]
    outcome = await collect(admin.served.stream(**having(made.key)))
    assert outcome.code is grpc.StatusCode.OK
    denied = await failing(admin.call("ListTenants", key=made.key))
    assert (denied.code, denied.info.reason) == (grpc.StatusCode.PERMISSION_DENIED, "ADMIN_REQUIRED")
    revoked = (await admin.call("RevokeApiKey", id=made.api_key.id)).api_key
    assert revoked.HasField("revoke_time")
    assert (await admin.call("RevokeApiKey", id=made.api_key.id)).api_key == revoked
    outcome = await collect(admin.served.stream(**having(made.key)))
    assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
    keys = (await admin.call("ListApiKeys", prefix=made.key)).api_keys
    assert [key.id for key in keys] == [made.api_key.id]
    entries = (await admin.call("ListAuditEntries")).audit_entries
    secret = made.key.rpartition("_")[2]
    assert not any(secret in str(message) for message in (*keys, *entries))


async def test_a_lowered_limit_counts_for_the_next_generation(admin: Administered):
    """The running one goes on."""
    await admin.call("CreateTenant", tenant=pb.Tenant(name="acme", models=["builtin"]))
    key = (await admin.new_key()).key
    assert (await collect(admin.served.stream(**having(key)))).code is grpc.StatusCode.OK
    wanted = pb.Tenant(name="acme", models=["another"])
    await admin.call("UpdateTenant", tenant=wanted, update_mask=FieldMask(paths=["models"]))
    outcome = await collect(admin.served.stream(**having(key)))
    assert outcome.info.reason == "MODEL_NOT_ALLOWED"


async def test_what_does_not_exist_is_named(admin: Administered):
    """And what exists already. Tenants of the settings are not among those of the service."""
    for method, fields, reason, code in (
        ("CreateTenant", {"tenant": pb.Tenant(name="ops")}, "TENANT_EXISTS", "ALREADY_EXISTS"),
        ("CreateTenant", {"tenant": pb.Tenant(name="static")}, "TENANT_EXISTS", "ALREADY_EXISTS"),
        ("GetTenant", {"name": "static"}, "TENANT_NOT_FOUND", "NOT_FOUND"),
        ("GetTenant", {"name": "x" * 5000}, "TENANT_NOT_FOUND", "NOT_FOUND"),
        ("GetTenant", {"name": "nul\0"}, "TENANT_NOT_FOUND", "NOT_FOUND"),
        ("DeleteTenant", {"name": "nobody"}, "TENANT_NOT_FOUND", "NOT_FOUND"),
        (
            "UpdateTenant",
            {"tenant": pb.Tenant(name="static"), "update_mask": FieldMask(paths=["weight"])},
            "TENANT_NOT_FOUND",
            "NOT_FOUND",
        ),
        ("CreateApiKey", {"tenant": "static"}, "TENANT_NOT_FOUND", "NOT_FOUND"),
        ("CreateApiKey", {"tenant": "nobody"}, "TENANT_NOT_FOUND", "NOT_FOUND"),
        ("RevokeApiKey", {"id": "nothing"}, "API_KEY_NOT_FOUND", "NOT_FOUND"),
    ):
        outcome = await refused(admin, method, **fields)
        assert (outcome.info.reason, outcome.code.name) == (reason, code), (method, fields)
    assert len((await admin.call("ListAuditEntries")).audit_entries) == 2


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"name": ""}, "tenant.name"),
        ({"name": "a b"}, "tenant.name"),
        ({"name": "x" * 65}, "tenant.name"),
        ({"max_generations": -1}, "tenant.max_generations"),
        ({"tokens_per_minute": 2**60}, "tenant.tokens_per_minute"),
        ({"weight": 1001}, "tenant.weight"),
        ({"priority_ceiling": 9}, "tenant.priority_ceiling"),
        ({"models": ["ok", "not ok"]}, "tenant.models[1]"),
        ({"models": ["m"] * 257}, "tenant.models"),
        (
            {"model_limits": [pb.ModelLimits(model="m"), pb.ModelLimits(model="m")]},
            "tenant.model_limits[1].model",
        ),
        (
            {"model_limits": [pb.ModelLimits(model="m", max_generations=-1)]},
            "tenant.model_limits[0].max_generations",
        ),
        ({"budgets": [pb.Budget(period=1)]}, "tenant.budgets[0].amount"),
        ({"budgets": [pb.Budget(tokens=0, period=1)]}, "tenant.budgets[0].tokens"),
        ({"budgets": [pb.Budget(tokens=1)]}, "tenant.budgets[0].period"),
        ({"budgets": [pb.Budget(tokens=1, period=1, currency="EUR")]}, "tenant.budgets[0].currency"),
        ({"budgets": [pb.Budget(amount_micros=1, period=1)]}, "tenant.budgets[0].currency"),
        ({"budgets": [pb.Budget(tokens=1, period=1, label_key="x\0")]}, "tenant.budgets[0].label_key"),
        ({"budgets": [pb.Budget(tokens=n, period=1) for n in (1, 2)]}, "tenant.budgets[1]"),
    ],
)
async def test_a_wrong_field_of_a_tenant_is_named(admin: Administered, fields, path):
    """By its path, and nothing is created."""
    outcome = await refused(admin, "CreateTenant", tenant=pb.Tenant(**{"name": "acme", **fields}))
    assert outcome.info.reason == "INVALID_REQUEST"
    assert path in outcome.message
    assert (await refused(admin, "GetTenant", name="acme")).code is grpc.StatusCode.NOT_FOUND


async def test_a_wrong_mask_changes_nothing(admin: Administered):
    """Neither none, nor a field that cannot be changed, nor one within another."""
    for paths in (
        [],
        ["name"],
        ["create_time"],
        ["weight", "budgets.tokens"],
        ["*", "weight"],
        ["weight"] * 257,
    ):
        tenant = pb.Tenant(name="ops", weight=5)
        outcome = await refused(admin, "UpdateTenant", tenant=tenant, update_mask=FieldMask(paths=paths))
        assert "update_mask" in outcome.message
    assert (await admin.call("GetTenant", name="ops")).tenant.weight == 1
    # A field that the mask does not name is not even looked at.
    wrong = pb.Tenant(name="ops", weight=5, max_generations=-1)
    changed = await admin.call("UpdateTenant", tenant=wrong, update_mask=FieldMask(paths=["weight"]))
    assert changed.tenant.weight == 5


async def test_wrong_keys_and_pages_are_refused(admin: Administered):
    """With the path of the field."""
    await admin.call("CreateTenant", tenant=pb.Tenant(name="acme"))
    past = Timestamp(seconds=round(time.time()) - 1)
    token = (await admin.call("ListTenants", page_size=1)).next_page_token
    for method, fields, path in (
        ("CreateApiKey", {"tenant": "ops", "expire_time": past}, "expire_time"),
        ("CreateApiKey", {"tenant": "ops", "expire_time": Timestamp(seconds=2**33, nanos=-1)}, "expire_time"),
        (
            "CreateApiKey",
            {"tenant": "ops", "expire_time": Timestamp(seconds=2**62, nanos=2**31 - 1)},
            "expire_time",
        ),
        ("CreateApiKey", {"tenant": "ops", "scopes": [1, 0]}, "scopes[1]"),
        ("CreateApiKey", {"tenant": "ops", "display_name": "x" * 129}, "display_name"),
        ("CreateApiKey", {"tenant": "ops", "display_name": "a\nb"}, "display_name"),
        ("CreateApiKey", {}, "tenant"),
        ("ListTenants", {"page_size": -1}, "page_size"),
        ("ListTenants", {"page_token": "x"}, "page_token"),
        ("ListApiKeys", {"page_token": token}, "page_token"),
        ("ListAuditEntries", {"page_token": "!" * 1000}, "page_token"),
        ("ListApiKeys", {"prefix": "x" * 2000}, "prefix"),
    ):
        outcome = await refused(admin, method, **fields)
        assert outcome.info.reason == "INVALID_REQUEST", method
        assert path in outcome.message


async def test_pages_have_everything_once(admin: Administered):
    """Tenants, keys and entries. A key that is created meanwhile shifts no page."""
    for n in range(5):
        await admin.call("CreateTenant", tenant=pb.Tenant(name=f"t{n}"))
        await admin.new_key(f"t{n}")
    for method, items in (
        ("ListTenants", "tenants"),
        ("ListApiKeys", "api_keys"),
        ("ListAuditEntries", "audit_entries"),
    ):
        whole = list(getattr(await admin.call(method, page_size=1000), items))
        listed, token = [], ""
        while True:
            page = await admin.call(method, page_size=2, page_token=token)
            listed += getattr(page, items)
            await admin.new_key("ops")
            if not (token := page.next_page_token):
                break
        assert listed == whole
    assert [tenant.name for tenant in (await admin.call("ListTenants")).tenants] == [
        "ops",
        *(f"t{n}" for n in range(5)),
    ]


async def test_an_expired_key_is_refused(admin: Administered):
    """Once its time has come."""
    soon = Timestamp()
    soon.FromNanoseconds(time.time_ns() + 300_000_000)
    made = await admin.new_key("ops", expire_time=soon, scopes=[pb.SCOPE_GENERATE])
    models = token_stream_pb2.ListModelsRequest()
    assert (await admin.served.stub.ListModels(models, **having(made.key))).models
    while (now := time.time_ns()) < soon.ToNanoseconds():
        assert now
    outcome = await failing(admin.served.stub.ListModels(models, **having(made.key)))
    assert outcome.code is grpc.StatusCode.UNAUTHENTICATED


async def test_reflection_lists_the_service(admin: Administered):
    """So that grpcurl knows it."""
    stub = reflection_pb2_grpc.ServerReflectionStub(admin.served.channel)
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    (answer,) = [message async for message in call]
    names = [service.name for service in answer.list_services_response.service]
    assert "tokenstreaming.v1.AdminService" in names


async def test_an_open_server_cannot_be_administered(tmp_path):
    """Everybody would be an admin. Nor can one without a database."""
    for settings in ({"data_dir": str(tmp_path)}, {}):
        async with serving(**settings) as served:
            outcome = await failing(aio_admin_stub(served.channel).ListTenants(pb.ListTenantsRequest()))
            assert outcome.code is grpc.StatusCode.UNIMPLEMENTED
