"""No false credential passes any RPC of a real server, and each good one does."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.every_rpc import OWNED, RPCS, call
from tests.support.false_credentials import STATIC_KEY, STORED_KEYS, false_metadata, store_keys
from tests.support.issuer import AUDIENCE, ISSUER, Issuer
from tests.support.profiles import examples
from tokengrpc.testing import serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokengrpc.testing import ScriptedServer

ISSUING = Issuer("ES256", "RS256")
OWN = "own"
"""Id of a generation of `search`, which has ended."""
SERVICE = "/tokenstreaming.v1.TokenStream"
LIST = f"{SERVICE}/ListModels"
ADMIN = "/tokenstreaming.v1.AdminService/"
FEW = examples(300)


def bearer(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[ScriptedServer]:
    folder = tmp_path_factory.mktemp("credentials")
    (folder / "key").write_text(STATIC_KEY)
    jwks = str(ISSUING.write(folder / "jwks.json"))
    asyncio.run(store_keys(folder))
    settings = {
        "authenticator": "jwt,database,static",
        "data_dir": str(folder),
        "plugins": {"jwt": {"issuer": ISSUER, "audience": AUDIENCE, "jwks": jwks}},
        "tenants": [{"name": "search"}, {"name": "mail", "key_file": str(folder / "key"), "admin": True}],
        "limits": {"min_generations": 1_000_000, "max_replay_ttl": 86_400, "replay_ttl": 86_400},
    }
    with serve("a", settings=settings) as running:
        yield running


@pytest.fixture(scope="module")
def channel(server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.target, options=(("grpc.enable_retries", 0),)) as opened:
        stream = opened.unary_stream(f"{SERVICE}/StreamTokens")
        request = pb.StreamTokensRequest(prompt="a", generation_id=OWN).SerializeToString()
        assert list(stream(request, metadata=bearer(ISSUING.token())))
        yield opened


@pytest.mark.parametrize("path", RPCS)
def test_good_credentials_pass(channel, path):
    """A token of the generation's tenant, a key of the database, and a static key of an admin."""
    own, other, admin = (
        call(channel, path, bearer(text), OWN) for text in (ISSUING.token(), STORED_KEYS["good"], STATIC_KEY)
    )
    if path.startswith(ADMIN):
        assert {own.code, other.code} == {"PERMISSION_DENIED"}
        assert admin.code in {"OK", "INVALID_ARGUMENT", "NOT_FOUND"}
    else:
        assert (own.code, bool(own.received)) == ("OK", True)
        assert {other.code, admin.code} == {"NOT_FOUND" if path in OWNED else "OK"}


@pytest.mark.parametrize("path", RPCS)
def test_a_key_without_the_scope_is_refused(channel, path):
    """One that may only administer runs and reads no generation."""
    ended = call(channel, path, bearer(STORED_KEYS["admin"]), OWN)
    if "TokenStream" in path:
        assert (ended.code, ended.received) == ("PERMISSION_DENIED", ())
    else:
        assert ended.code != "PERMISSION_DENIED"


@FEW
@given(path=st.sampled_from(RPCS), metadata=false_metadata(ISSUING))
def test_no_false_credential_passes_any_call(server, channel, path, metadata):
    """The engine is asked for nothing, and the message repeats nothing of the credential."""
    asked = len(server.requests)
    ended = call(channel, path, metadata, OWN)
    assert (ended.code, ended.received) == ("UNAUTHENTICATED", ()), ended
    assert len(server.requests) == asked
    for _, value in metadata:
        secret = value.rpartition(" ")[2]
        assert len(secret) < 8 or secret not in ended.message


def test_calls_without_a_credential_are_refused(channel):
    """All of them."""
    assert {call(channel, path, (), OWN).code for path in RPCS} == {"UNAUTHENTICATED"}


def test_a_token_counts_until_it_expires(channel):
    """Less than the leeway after its end it does, more it does not."""
    now = int(time.time())
    assert call(channel, LIST, bearer(ISSUING.token(exp=now - 10))).code == "OK"
    assert call(channel, LIST, bearer(ISSUING.token(exp=now - 31))).code == "UNAUTHENTICATED"


@pytest.mark.parametrize("size", [10_000, 20_000, 1_000_000])
def test_large_credentials_are_refused_unread(server, channel, size):
    """GRPC itself refuses what is above 16 KiB. Other calls of the connection go on."""
    asked = len(server.requests)
    for text in ("x" * size, f"eyJ{'x' * size}.e30.x", ISSUING.token(note="x" * size)):
        ended = call(channel, f"{SERVICE}/StreamTokens", bearer(text))
        assert ended.code == ("UNAUTHENTICATED" if size < 16_000 else "RESOURCE_EXHAUSTED")
        assert call(channel, LIST, bearer(ISSUING.token())).code == "OK"
    assert len(server.requests) == asked
