"""Settings and addresses of stores: what is wrong is said in one line."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import pytest

from tests.support.redis_servers import Machines
from tests.support.redis_sinks import made, started
from tokengrpc.config import ConfigError
from tokengrpc.errors import StoreUnavailable
from tokengrpc.stores.redis.servers.address import SCHEMES, Host, Layout, read_address

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.mark.parametrize(
    ("url", "layout", "hosts", "tls", "rest"),
    [
        ("redis://h", Layout.SINGLE, [("h", 6379)], False, (0, "", "", "")),
        ("valkeys://u:p%40w@h:1/3", Layout.SINGLE, [("h", 1)], True, (3, "", "u", "p@w")),
        ("redis://:secret@[::1]:7", Layout.SINGLE, [("::1", 7)], False, (0, "", "", "secret")),
        ("redis+sentinel://a,b:2/x", Layout.SENTINEL, [("a", 26379), ("b", 2)], False, (0, "x", "", "")),
        ("rediss+cluster://a:1,b", Layout.CLUSTER, [("a", 1), ("b", 6379)], True, (0, "", "", "")),
    ],
)
def test_addresses(url: str, layout: Layout, hosts, tls: bool, rest) -> None:
    """Hosts have the default port of what they are."""
    address = read_address(url)
    assert (address.layout, address.hosts, address.tls) == (layout, tuple(Host(*host) for host in hosts), tls)
    assert (address.database, address.service, address.user, address.password) == rest


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://", "the URL has no host"),
        ("redis:///1", "the URL has no host"),
        ("redis://h/x", "the database 'x' is not a number"),
        ("redis://h:x", "the port of 'h:x' is not a number"),
        ("redis://h:0", "'h:0' is no host"),
        ("redis://h:99999", "the port of 'h:99999' is not a number"),
        ("redis://a,b", "several hosts need +sentinel or +cluster"),
        ("redis+sentinel://h", "the name of the service that the Sentinels watch is missing"),
        ("redis+cluster://h/1", "a cluster has no databases"),
        ("redis://h?ssl=true", "the URL has no options: set them in [plugins.redis]"),
        ("redis://[::1", "not a URL such as"),
        ("http://h", "not a URL such as"),
    ],
)
def test_mistakes_in_urls(url: str, why: str) -> None:
    """One line with the reason, and without the password."""
    with pytest.raises(ConfigError) as error:
        made(url)
    assert why in str(error.value)
    assert str(error.value).startswith("store: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"durability": "memory"}, "durability: must be one of fsynced, replicated"),
        ({"replicas": 0}, "replicas: must be a whole number of at least 1 and at most 16"),
        ({"lease": "2"}, "lease: must be a number of at least 0.1"),
        ({"group_delay": -1}, "group_delay: must be a number of at least 0"),
        ({"leases": 2}, "leases: unknown key; did you mean `lease`?"),
        ({"prefix": "a b"}, "prefix: must be 1 to 64 characters of"),
        ({"prefix": "a\n"}, "prefix: must be 1 to 64 characters of"),
        ({"encryption_key_files": "k"}, "encryption_key_files: must be a list of texts"),
        ({"cert_file": "/x"}, "cert_file and key_file belong together"),
        ({"password_file": "/nowhere/p"}, "plugins.redis.password_file: /nowhere/p: No such file"),
        ({"encryption_key_files": ["/nowhere/k"]}, "encryption_key_files: /nowhere/k: No such file"),
        ({"ca_file": "/nowhere/ca"}, "plugins.redis.ca_file: /nowhere/ca"),
    ],
)
def test_mistakes_in_settings(options, why: str) -> None:
    """One line that names the key."""
    with pytest.raises(ConfigError) as error:
        made("rediss://h", **options)
    assert why in str(error.value)
    assert str(error.value).startswith("plugins.redis")
    assert "\n" not in str(error.value)


def test_files_for_tls_without_tls(tmp_path: Path) -> None:
    """Somebody who names authorities to trust does not expect a connection in plain text."""
    file = tmp_path / "ca.crt"
    file.write_text("")
    with pytest.raises(ConfigError, match=r"^plugins\.redis\.ca_file: .* use rediss:// in `store`$"):
        made("redis://h", ca_file=str(file))


@pytest.mark.parametrize("text", ["", "short", "c2hvcnQ=", "ä"])
def test_a_file_without_a_key(tmp_path: Path, text: str) -> None:
    """What a key looks like, and how to make one."""
    file = tmp_path / "store.key"
    file.write_text(text)
    with pytest.raises(ConfigError, match="32 bytes in base64, as of `openssl rand -base64 32`"):
        made("redis://h", encryption_key_files=[str(file)])


def test_every_scheme_is_a_plugin() -> None:
    """Each URL that can be read is found by its scheme."""
    installed = {
        point.name for point in entry_points(group="tokengrpc.event_stores") if "redis" in point.value
    }
    assert installed == set(SCHEMES)


@pytest.fixture(params=["redis", "valkey"])
def machines(request) -> Iterator[Machines]:
    with Machines(request.param) as made_anew:
        yield made_anew


@pytest.mark.parametrize(
    ("server", "options", "error", "why"),
    [
        ({}, {}, StoreUnavailable, "has 0 of the 1 replicas that durability `replicated` needs"),
        ({}, {"durability": "fsynced"}, ConfigError, "appendonly is no"),
        (
            {"appendonly": "yes", "appendfsync": "everysec"},
            {"durability": "fsynced"},
            ConfigError,
            "needs appendfsync always in the event store's settings, and it is everysec",
        ),
    ],
)
async def test_a_store_that_keeps_less_than_promised(machines: Machines, server, options, error, why) -> None:
    """The server does not start, and says in one line what is needed."""
    url = machines.single(server).url
    sink = made(url, **options)
    with pytest.raises(error) as raised:
        await sink.start()
    await sink.close()
    assert why in str(raised.value)
    assert "\n" not in str(raised.value)


async def test_a_store_whose_settings_are_hidden(machines: Machines, caplog, capsys) -> None:
    """It cannot be checked, so the operator is warned; and so that logs may be evicted."""
    server = machines.single(
        {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "allkeys-lru"}
    )
    server.call("ACL", "SETUSER", "limited", "on", ">pw", "~*", "&*", "+@all", "-config")
    url = server.url.replace("redis://", "redis://limited:pw@")
    async with started(url, durability="fsynced"):
        pass
    told = capsys.readouterr().out
    assert "appendfsync of the event store cannot be read" in told
    assert "set maxmemory-policy to noeviction" in told
