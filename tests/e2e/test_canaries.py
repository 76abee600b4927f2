"""Nothing that a server writes or shows has a secret, a prompt or an output in it, however a call ends."""

from __future__ import annotations

import asyncio
import re
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.admin_pages import fetch
from tests.support.canaries import CONTENT, SECRETS, Callers
from tests.support.commands import Server, serving, tokengrpc, until
from tests.support.harness import collect
from tests.support.otlp_receiver import OtlpReceiver
from tests.support.plugins import install
from tests.support.tls import make_certificate

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.scripted_engine import ScriptedEngine

ALL = {**SECRETS, **CONTENT}
OPENAI = "[[models]]\nname = 'm'\nkind = 'openai'\n"
PAGES = ("/healthz", "/readyz", "/metrics", "/debug", "/")

PLUGIN = '''
"""An engine and an observer that fail, and say all they know."""

class Engine:
    kind = "broken"
    healthy = None
    capabilities = frozenset(Capability)

    def __init__(self, name):
        self.name = name

    async def start(self):
        pass

    async def close(self):
        pass

    async def generate(self, request, continue_from=None):
        yield ()
        raise ValueError(f"bug: {request}") from RuntimeError(f"{request.messages}")


class Observer:
    def __init__(self, options):
        self.options = options

    def on_event(self, event):
        raise ValueError(f"bug: {self.options} {event}")


def create_engine(settings, tokenizer):
    return Engine(settings.name)


def create_observer(value, options, settings):
    return Observer(options)
'''
SETTINGS = """
admin_listen = "127.0.0.1:0"
otlp = true
log_level = "debug"
log_format = "{style}"
observers = ["log", "broken"]
{more}
[limits]
drain_time = 0.2
[plugins.broken]
password = "{password}"
[[tenants]]
name = "search"
key_file = "{folder}/tenant-key"
[[models]]
name = "m"
kind = "openai"
api = "chat"
base_url = "{base_url}"
api_key_file = "{folder}/engine-key"
headers = {{x-secret = {{file = "{folder}/header"}}}}
query = {{secret = {{file = "{folder}/query"}}}}
max_event_bytes = 65536
schema_check = "error"
[[models]]
name = "own"
kind = "openai"
api = "chat"
base_url = "{base_url}"
caller_keys = "required"
[[models]]
name = "broken"
kind = "broken"
[[models]]
name = "tls"
kind = "openai"
base_url = "https://127.0.0.1:9/v1"
client_cert_file = "{folder}/cert.pem"
client_key_file = "{folder}/key.pem"
health_check_interval = 0.2
"""


def found(text: str, canaries: dict[str, str]) -> list[str]:
    """Returns the names of canaries in a text, however it writes spaces and letters."""
    plain = text.lower().replace("%20", " ").replace("+", " ")
    return [name for name, canary in canaries.items() if canary.lower() in plain]


def write(folder: Path, base_url: str, style: str, more: str = "") -> Path:
    """Writes the settings. Returns the file."""
    file = folder / "tokengrpc.toml"
    text = SETTINGS.format(
        style=style, folder=folder, base_url=base_url, password=SECRETS["password"], more=more
    )
    file.write_text(text)
    return file


def reload(server: Server, *events: str) -> None:
    """Sends SIGHUP, and waits until the log has each of these events more often."""
    before = [server.log().count(event) for event in events]
    server.process.send_signal(signal.SIGHUP)
    for event, count in zip(events, before, strict=True):
        until(lambda event=event, count=count: server.log().count(event) > count, event)


def reload_with_errors(server: Server, folder: Path, base_url: str, style: str) -> None:
    """SIGHUP with a wrong file, a key in the wrong place, and files that hold no key or certificate."""
    for more in (f"api_key = '{SECRETS['plain-key']}'", f"ledger = ['{SECRETS['plain-key']}']", "= broken"):
        write(folder, base_url, style, more)
        reload(server, "the settings are not reloaded")
    write(folder, base_url, style)
    (folder / "tenant-key").write_text("")
    (folder / "engine-key").write_text(f"{SECRETS['next-key']}\nsecond line")
    (folder / "key.pem").write_text(f"-----BEGIN PRIVATE KEY-----\n{SECRETS['tls-key']}\n")
    reload(server, "a part of the settings is not reloaded")
    (folder / "tenant-key").write_text(SECRETS["other-key"])
    reload(server, "reloaded")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the plugin, and with a file for each secret."""
    plugin = f"from tokengrpc.interfaces import Capability\n{PLUGIN}"
    groups = {
        "tokengrpc.engines": {"broken": "broken:create_engine"},
        "tokengrpc.observers": {"broken": "broken:create_observer"},
    }
    install(tmp_path, {"broken.py": plugin}, groups)
    for name, secret in SECRETS.items():
        (tmp_path / name).write_text(secret)
    whole = make_certificate(tmp_path).read_text()  # the key and the certificate
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text(whole)
    return tmp_path


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP on this system")
@pytest.mark.parametrize("style", ["json", "console"])
async def test_no_secret_and_no_content_is_written_or_shown(
    engine: ScriptedEngine, folder: Path, style: str
) -> None:
    """In logs at level debug, metrics, traces and debug pages. Callers get no secret, not even in quotes."""
    file = write(folder, engine.base_url, style)
    pem = (folder / "key.pem").read_text().splitlines()[1]
    flags = ("--config", str(file), "--log-level", "debug")
    receiver = OtlpReceiver()
    variables = {"PYTHONPATH": str(folder), "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
    with receiver, serving(*flags, **variables) as server:
        callers = Callers(server.target, engine)
        outcomes = dict([one async for one in callers.run()])
        await asyncio.to_thread(reload_with_errors, server, folder, engine.base_url, style)
        address = until(lambda: _admin_address(server.log()), "the admin address")
        shown = "".join([str(await asyncio.to_thread(fetch, address, page)) for page in PAGES])
        async with callers.hanging(SECRETS["other-key"]) as call:
            assert await asyncio.to_thread(server.stop) == 0
            outcomes["drained"] = await collect(call)
        log = server.log()
    assert found(log + shown, {**ALL, "pem": pem}) == []
    assert found(receiver.bytes.decode(errors="replace"), {**ALL, "pem": pem}) == []
    told = {name: f"{end.message} {end.trailers} {end.status}" for name, end in outcomes.items()}
    assert {name: found(text, SECRETS) for name, text in told.items() if found(text, SECRETS)} == {}
    # The run was what it should be: content arrived, engines were quoted, plugins failed.
    assert outcomes["answer"].finished is not None
    assert CONTENT["answer"] in outcomes["answer"].text
    assert found(told["status 400"], CONTENT) == ["prompt"]
    assert {"generation m", "generation broken"} <= {span.name for span in receiver.spans}
    assert len({outcome.info.reason for outcome in outcomes.values() if outcome.info}) >= 12
    for event in ("an observer failed", "unexpected error in a generation", "circuit breaker opened"):
        assert event in log


def _admin_address(log: str) -> int:
    """Returns the port of the admin pages that the start line names."""
    for line in log.splitlines():
        if "admin_listen" in line:
            return int(re.findall(r"admin_listen\W+127.0.0.1:(\d+)", line)[0])
    return 0


@pytest.mark.parametrize(
    "text",
    [
        "{openai}base_url = 'http://h/v1'\napi_key = '{secret}'",
        "{openai}base_url = 'http://h/v1'\napi_key_env = '{secret}'",
        "{openai}base_url = 'http://u:{secret}@h/v1'",
        "{openai}base_url = 'http://h/v1?key={secret}'",
        "{openai}base_url = 'http://h/v1'\nproxy = 'ftp://u:{secret}@h'",
        "{openai}base_url = 'http://h/v1'\nheaders = {{x = ['{secret}']}}",
        "{openai}base_url = 'http://h/v1'\nheaders = {{x = \"{secret}\\n\"}}",
        "{openai}base_url = 'http://h/v1'\nquery = {{x = {{env = '{secret}'}}}}",
        "[[tenants]]\nname = 't'\nkey = '{secret}'",
        "[[tenants]]\nname = 't'\nkey_env = '{secret}'",
        "tenants = '{secret}'",
        "plugins = {{x = '{secret}'}}",
        "observers = '{secret}'",
        "[tls]\ncert_file = '{file}'\nkey_file = '{file}'",
    ],
)
def test_wrong_settings_do_not_repeat_a_secret(tmp_path: Path, text: str) -> None:
    """Of a file in which a key stands where it must not."""
    file = tmp_path / "tokengrpc.toml"
    holder = tmp_path / "key.pem"
    holder.write_text(f"-----BEGIN PRIVATE KEY-----\n{SECRETS['tls-key']}\n-----END PRIVATE KEY-----\n")
    file.write_text(text.format(secret=SECRETS["plain-key"], openai=OPENAI, file=holder))
    done = tokengrpc("serve", "--config", str(file), "--listen", "127.0.0.1:0")
    assert (done.returncode, done.stdout) == (2, "")
    assert found(done.stderr, ALL) == []
