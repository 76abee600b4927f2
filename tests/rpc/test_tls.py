"""TLS of the port: what it accepts, the names of callers, and certificates that change while it serves."""

from __future__ import annotations

import asyncio
import resource
import ssl
from pathlib import Path

import grpc
import pytest
from structlog.testing import capture_logs

from tests.support.admin_pages import ADMIN, scrape, series
from tests.support.harness import OPTIONS, check_gapless, serving
from tests.support.tls import Authority, Pair, handshake
from tokengrpc.certificates import end_of
from tokengrpc.client import TokenStreamClient, tls_credentials
from tokengrpc.client.stubs import aio_stub
from tokengrpc.config import ConfigError, TLSSettings, model_settings
from tokengrpc.core.tenant import ANYBODY
from tokengrpc.rpc.tls import CertificateFiles

CONNECTIONS, STREAMS, ROTATIONS = 10, 100, 50
EXPIRY = series("tokengrpc_tls_certificate_expiry_timestamp_seconds")


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def pair(authority):
    return authority.issue("server", "localhost", "127.0.0.1")


def settings(pair: Pair, client_ca_file: str = "") -> TLSSettings:
    return TLSSettings(cert_file=pair.cert_file, key_file=pair.key_file, client_ca_file=client_ca_file)


def read(file: str) -> bytes:
    return Path(file).read_bytes()


def write(file: str, content: bytes) -> None:
    Path(file).write_bytes(content)


def remove(file: str) -> None:
    Path(file).unlink()


async def shake(server, authority, **options):
    return await asyncio.to_thread(handshake, server.server.port, authority.file, **options)


async def test_the_least_version_is_tls_1_2(authority, pair):
    """GRPC serves TLS 1.2 and 1.3, and offers no setting for it: a change of that must be noticed here."""
    async with serving(tls=settings(pair)) as server:
        for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
            assert await shake(server, authority, version=version) is None
        for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
            served = await shake(server, authority, version=version)
            assert served is not None
            assert served.version == name


async def test_a_client_must_negotiate_http_2(authority, pair):
    """Without ALPN, or with HTTP/1.1 alone, the connection is closed."""
    async with serving(tls=settings(pair)) as server:
        assert await shake(server, authority, protocols=()) is None
        assert await shake(server, authority, protocols=("http/1.1",)) is None
        assert await shake(server, authority, protocols=("http/1.1", "h2")) is not None


async def test_a_client_certificate_of_the_authority_is_required(tmp_path, authority, pair):
    """Of no other authority, and not an expired one."""
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other").issue("client", "client.example")
    expired = authority.issue("expired", "client.example", expired=True)
    async with serving(tls=settings(pair, authority.file)) as server:
        assert await shake(server, authority) is None
        assert await shake(server, authority, client=stranger) is None
        assert await shake(server, authority, client=expired) is None
        assert await shake(server, authority, client=authority.issue("client", "client.example")) is not None


async def test_an_authenticator_gets_the_verified_names(authority, pair):
    """All alternative names of the client certificate; none without one."""
    peers = []

    class Recorder:
        async def start(self) -> None: ...

        async def close(self) -> None: ...

        async def authenticate(self, metadata, peer):
            peers.append(peer)
            return ANYBODY

    client = authority.issue("client", "client.example", "spiffe.example", "10.1.2.3")
    credentials = tls_credentials(
        ca_file=authority.file, cert_file=client.cert_file, key_file=client.key_file
    )
    async with (
        serving(tls=settings(pair, authority.file), authenticator=Recorder()) as server,
        TokenStreamClient(server.target, credentials=credentials) as caller,
    ):
        await caller.models()
    async with (
        serving(tls=settings(pair), authenticator=Recorder()) as server,
        TokenStreamClient(server.target, credentials=credentials) as caller,
    ):
        await caller.models()
    assert [set(peer.certificate_names) for peer in peers] == [
        {"client.example", "spiffe.example", "10.1.2.3"},
        set(),
    ]


def mount(folder: Path, authority: Authority, number: int) -> Pair:
    """Writes a pair as Kubernetes mounts a secret: the link `..data` is replaced at once."""
    version = folder / f"..{number}"
    version.mkdir(parents=True)
    authority.issue("tls", "localhost", folder=version)
    (folder / "..new").symlink_to(version.name)
    (folder / "..new").replace(folder / "..data")
    pair = Pair(str(folder / "tls.crt"), str(folder / "tls.key"))
    if not number:
        for file in (pair.cert_file, pair.key_file):
            Path(file).symlink_to(Path("..data") / Path(file).name)
    return pair


async def test_rotations_cut_no_stream(tmp_path, authority):
    """50 certificates under 100 streams: the next handshake has the new one, and every stream goes on."""
    folder = tmp_path / "mounted"
    pair = mount(folder, authority, 0)
    credentials = grpc.ssl_channel_credentials(read(authority.file))
    model = model_settings(name="builtin", pace=2)
    async with serving(model, tls=settings(pair)) as server:
        target = f"localhost:{server.server.port}"
        channels = [grpc.aio.secure_channel(target, credentials, OPTIONS) for _ in range(CONNECTIONS)]
        stubs = [aio_stub(channel) for channel in channels]
        calls = [
            stubs[number % CONNECTIONS].StreamTokens(server.request(f"rotation-{number}"))
            for number in range(STREAMS)
        ]
        messages = [[await call.read()] for call in calls]
        for number in range(1, ROTATIONS + 1):
            mount(folder, authority, number)
            served = await shake(server, authority)
            assert served is not None
            assert served.serial == pair.serial
        # What the streams have received meanwhile is read first, then what follows the last rotation.
        assert server.registry.active == STREAMS
        last = [task.generation.usage.output for task in server.tasks]
        for call, received, count in zip(calls, messages, last, strict=True):
            while received[-1].usage.output_token_count <= count:
                received.append(await call.read())
            check_gapless(received)
        for channel in channels:
            await channel.close()


async def test_a_broken_pair_leaves_the_previous_one(authority, pair):
    """A certificate without its key is logged once, with the cause, and served as soon as it is whole."""
    async with serving(tls=settings(pair)) as server:
        before, key = pair.serial, read(pair.key_file)
        authority.issue("server", "localhost")
        new, new_key = pair.serial, read(pair.key_file)
        write(pair.key_file, key)
        with capture_logs() as lines:
            serials = [(await shake(server, authority)).serial for _ in range(3)]
            write(pair.key_file, new_key[: len(new_key) // 2])
            serials += [(await shake(server, authority)).serial for _ in range(3)]
            remove(pair.key_file)
            serials += [(await shake(server, authority)).serial for _ in range(3)]
            write(pair.key_file, new_key)
            assert (await shake(server, authority)).serial == new
            write(pair.key_file, key)
            assert (await shake(server, authority)).serial == new
            write(pair.key_file, new_key)
            assert (await shake(server, authority)).serial == new
    assert serials == [before] * 9
    told = [line for line in lines if "certificate" in line["event"]]
    assert [line["log_level"] for line in told] == ["error", "error", "error", "info", "error", "info"]
    assert "key values mismatch" in told[0]["error"]
    assert "in PEM form" in told[1]["error"]
    assert "does not exist" in told[2]["error"] or "No such file" in told[2]["error"]
    assert not any("PRIVATE KEY" in str(line) for line in lines)


async def test_an_expired_certificate_is_no_replacement(authority, pair):
    """The previous one stays in use, the log says so once, and the metric is the date of that in use."""
    async with serving(tls=settings(pair), admin_listen=ADMIN) as server:
        before, end = pair.serial, end_of(read(pair.cert_file))
        with capture_logs() as lines:
            authority.issue("server", "localhost", expired=True)
            serials = [(await shake(server, authority)).serial for _ in range(3)]
            kept = (await scrape(server))[EXPIRY]
            authority.issue("server", "localhost", lasts_days=3)
            renewed = (await scrape(server))[EXPIRY]
            assert (await shake(server, authority)).serial == pair.serial
    assert serials == [before] * 3
    assert (kept, renewed) == (end, end_of(read(pair.cert_file)))
    assert renewed < kept
    told = [line for line in lines if "certificate" in line["event"]]
    assert [line["log_level"] for line in told] == ["error", "info"]
    assert told[0]["error"] == f"tls.cert_file: the certificate in {pair.cert_file} has expired"


def test_an_expired_certificate_at_the_start_is_told(authority):
    """It is served nevertheless, and the same again is no change."""
    expired = authority.issue("server", "localhost", expired=True)
    with capture_logs() as lines:
        files = CertificateFiles(settings(expired))
        Path(expired.cert_file).touch()
        assert files.changed() is None
    assert [line["log_level"] for line in lines] == ["error"]
    assert "has expired, clients refuse it: renew it" in lines[0]["event"]


def test_a_chain_ends_with_what_expires_first(authority):
    """Clients check all of it."""
    long, short = authority.issue("long", "localhost"), authority.issue("short", "localhost", lasts_days=3)
    ends = [end_of(read(each.cert_file)) for each in (long, short)]
    assert ends[1] < ends[0]
    assert end_of(read(long.cert_file) + read(short.cert_file)) == ends[1]
    assert end_of(b"no certificate") is None


def test_files_that_could_not_be_read_are_read_again(authority, pair):
    """Although they are the same, such as when there were no file descriptors left."""
    files = CertificateFiles(settings(pair))
    second = authority.issue("second", "localhost")
    for old, new in zip((pair.cert_file, pair.key_file), (second.cert_file, second.key_file), strict=True):
        Path(new).replace(old)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with capture_logs() as logs:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
            assert files.changed() is None
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert files.changed() is not None
        assert files.changed() is None
    assert [line["log_level"] for line in logs] == ["error", "info"]


def test_a_huge_file_is_refused(pair):
    """Before it is read into memory."""
    files = CertificateFiles(settings(pair))
    with Path(pair.cert_file).open("r+b") as file:
        file.truncate(1 << 40)
    with capture_logs() as logs:
        assert files.changed() is None
    assert [line["error"] for line in logs] == [
        f"tls.cert_file: the file {pair.cert_file} has more than 4 MiB: check its name"
    ]


async def test_other_client_authorities_count_from_the_next_handshake(tmp_path, authority, pair):
    """Connections that stand go on."""
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    trusted = str(tmp_path / "trusted.crt")
    write(trusted, read(authority.file))
    old, new = authority.issue("client", "client.example"), other.issue("client", "client.example")
    credentials = tls_credentials(ca_file=authority.file, cert_file=old.cert_file, key_file=old.key_file)
    async with (
        serving(tls=settings(pair, trusted)) as server,
        TokenStreamClient(server.target, credentials=credentials) as caller,
    ):
        await caller.models()
        assert await shake(server, authority, client=new) is None
        write(trusted, read(other.file))
        assert await shake(server, authority, client=new) is not None
        assert await shake(server, authority, client=old) is None
        await caller.models()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cert_file": "absent"}, "tls.cert_file: the file absent cannot be read: No such file or directory"),
        ({"key_file": "absent"}, "tls.key_file: the file absent cannot be read: No such file or directory"),
        ({"client_ca_file": __file__}, f"tls.client_ca_file: the file {__file__} must contain certificates "),
        ({"cert_file": __file__}, f"tls.cert_file: the file {__file__} must contain a certificate in PEM "),
        ({"key_file": __file__}, f"tls.key_file: the file {__file__} must contain an unencrypted key "),
        (
            {"key_file": ""},
            "tls.cert_file: the file CERT must contain a certificate with its unencrypted key in ",
        ),
        ({"key_file": "/dev/zero"}, "tls.key_file: /dev/zero is not a regular file, "),
    ],
)
def test_files_that_cannot_be_used_stop_the_start(pair, change, message):
    """One line names the setting, the file and the cause."""
    files = {"cert_file": pair.cert_file, "key_file": pair.key_file} | change
    with pytest.raises(ConfigError) as caught:
        CertificateFiles(TLSSettings(**files))
    assert str(caught.value).startswith(message.replace("CERT", pair.cert_file))
    assert "\n" not in str(caught.value)


async def test_one_file_may_have_the_certificate_and_the_key(tmp_path, authority, pair):
    """In either order."""
    for names in (("cert_file", "key_file"), ("key_file", "cert_file")):
        both = str(tmp_path / "both.pem")
        write(both, b"".join(read(getattr(pair, name)) for name in names))
        async with serving(tls=TLSSettings(cert_file=both)) as server:
            assert await shake(server, authority) is not None
