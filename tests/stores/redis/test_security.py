"""TLS, users and encryption of stores."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.ports import reserved_port
from tests.support.records import KEY, log_records
from tests.support.redis_servers import FSYNCED, Machines
from tests.support.redis_sinks import claimed, made, started
from tests.support.tls import Authority
from tokengrpc.config import ConfigError
from tokengrpc.core.ports.log import TakeoverStatus
from tokengrpc.errors import StoreUnavailable
from tokengrpc.stores.redis.sealing import Sealed, Unsealed

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["redis", "valkey"])
def machines(request) -> Iterator[Machines]:
    with Machines(request.param) as made_anew:
        yield made_anew


async def everything(url: str, **options) -> None:
    """Makes all calls of the port."""
    async with started(url, **options) as sink, started(url, **options) as other:
        epoch = await claimed(sink, 2)
        batches = other.follow(KEY, 0)
        assert list(await anext(batches)) == log_records(1, 2)
        await batches.aclose()
        assert await other.describe(KEY)
        assert await other.read(KEY, 0, 1)
        assert await other.count_subscribers({KEY: 1}) == {KEY: 1}
        assert len(await sink.renew({KEY: epoch})) == 1
        await other.publish_cancel(KEY)
        await sink.release({KEY: epoch})
        assert list(await other.orphans(1)) == [KEY]
        assert (await other.take_over(KEY, epoch)).status is TakeoverStatus.TAKEN
        await other.retain(KEY, epoch + 1, 0)


@pytest.fixture
def documented_user() -> str:
    """The command that docs/scaling.md shows."""
    page = Path("docs/scaling.md").read_text()
    (line,) = (line for line in page.splitlines() if line.startswith("ACL SETUSER"))
    return line


async def test_the_permissions_that_the_docs_name_suffice(
    machines: Machines, tmp_path: Path, documented_user: str
) -> None:
    """A user of the documented line may make all calls, and touches no other key."""
    server = machines.single(FSYNCED)
    server.call(*documented_user.split())
    password = tmp_path / "password"
    password.write_text("PASSWORD\n")
    options = {"durability": "fsynced", "user": "tokengrpc", "password_file": str(password)}
    await everything(server.url, **options)
    with pytest.raises(ConfigError, match="lacks a permission"):
        async with started(server.url, prefix="others", **options):
            pass


async def test_a_wrong_password(machines: Machines, tmp_path: Path) -> None:
    """One line says so, without the password."""
    server = machines.single({**FSYNCED, "requirepass": "right"})
    sink = made(server.url.replace("//", "//:wrong@"), durability="fsynced")
    with pytest.raises((ConfigError, StoreUnavailable)) as error:
        await sink.start()
    await sink.close()
    assert "password" in str(error.value)
    assert "wrong" not in str(error.value)


async def test_tls_with_client_certificates(machines: Machines, tmp_path: Path) -> None:
    """The server's certificate is checked, and it checks ours."""
    authority = Authority(tmp_path)
    pair, ours = authority.issue("server", "127.0.0.1"), authority.issue("client", "client")
    port = reserved_port()
    server = machines.make(
        {
            **FSYNCED,
            "tls-port": str(port),
            "tls-cert-file": pair.cert_file,
            "tls-key-file": pair.key_file,
            "tls-ca-cert-file": authority.file,
        }
    )
    try:
        server.start()
    except RuntimeError as error:
        if "tls" not in str(error).lower():
            raise
        pytest.skip("this build of the server has no TLS")
    url = f"rediss://127.0.0.1:{port}"
    files = {"cert_file": ours.cert_file, "key_file": ours.key_file}
    await everything(url, durability="fsynced", ca_file=authority.file, **files)
    for wrong in ({"ca_file": authority.file}, files):
        sink = made(url, durability="fsynced", **wrong)
        with pytest.raises(StoreUnavailable):
            await sink.start()
        await sink.close()


def key_file(folder: Path, name: str) -> str:
    path = folder / name
    path.write_text(base64.b64encode(os.urandom(32)).decode() + "\n")
    return str(path)


async def test_content_is_encrypted(machines: Machines, tmp_path: Path) -> None:
    """Nothing that the store keeps has an id, a request or an output in it."""
    server = machines.single(FSYNCED)
    keys = [key_file(tmp_path, "one")]
    for files in ([], keys):
        async with started(server.url, durability="fsynced", encryption_key_files=files) as sink:
            await claimed(sink, 2)
        stored = b"".join(_values(server))
        for secret in (b"body1;", b"the request", b"same"):
            assert (secret in stored) is (not files)
        server.call("FLUSHALL")


async def test_an_end_that_is_written_again_can_be_read(machines: Machines, tmp_path: Path) -> None:
    """Its owner has retained the log already, when a failover turns out to have lost the end."""
    server = machines.single(FSYNCED)
    files = [key_file(tmp_path, "one")]
    async with started(server.url, durability="fsynced", encryption_key_files=files) as sink:
        epoch = await claimed(sink, 2)
        await sink.retain(KEY, epoch, 60.0)
        await sink.append(KEY, epoch, log_records(3, 3))
        assert [*await sink.read(KEY, 2, 1 << 20)] == log_records(3, 3)


def _values(server) -> Iterator[bytes]:
    for key in server.call("KEYS", "*"):
        yield key
        yield server.call("DUMP", key)


async def test_keys_are_replaced_one_by_one(machines: Machines, tmp_path: Path) -> None:
    """Add the new key at the end, put it first, remove the old one: no log is lost while it is kept."""
    server = machines.single(FSYNCED)
    old, new = key_file(tmp_path, "old"), key_file(tmp_path, "new")
    async with started(server.url, durability="fsynced", encryption_key_files=[old]) as sink:
        await claimed(sink, 2)
    for files in ([old, new], [new, old]):
        async with started(server.url, durability="fsynced", encryption_key_files=files) as sink:
            assert list(await sink.read(KEY, 0, 1 << 20)) == log_records(1, 2)
    for files in ([new], []):
        async with started(server.url, durability="fsynced", encryption_key_files=files) as sink:
            with pytest.raises(StoreUnavailable, match="encrypted"):
                await sink.read(KEY, 0, 1 << 20)


@pytest.mark.parametrize("change", ["byte", "place", "log", "unsealed"])
def test_changed_values_are_refused(change: str) -> None:
    """A value counts only where it was written, as it was written."""
    sealer = Sealed([bytes(32)])
    stored = sealer.seal("log", b"1 TOKENS", b"text")
    assert sealer.open("log", b"1 TOKENS", stored) == b"text"
    incarnation, place = "log", b"1 TOKENS"
    match change:
        case "byte":
            stored = stored[:-1] + bytes([stored[-1] ^ 1])
        case "place":
            place = b"2 TOKENS"
        case "log":
            incarnation = "other"
        case "unsealed":
            stored = Unsealed().seal("log", place, b"text")
    with pytest.raises(StoreUnavailable):
        sealer.open(incarnation, place, stored)
