"""SIGHUP: what a running server takes from changed settings, and that no stream notices."""

from __future__ import annotations

import json
import signal

import pytest

from tests.support import harness
from tests.support.commands import Server, running, serving, until
from tests.support.harness import collect, upstream
from tests.support.scripted_engine import Done, Finish, ScriptedEngine, Text, UsageChunk
from tokengrpc.reloading import reload as reload_settings

if not hasattr(signal, "SIGHUP"):
    pytest.skip("no SIGHUP on this system", allow_module_level=True)


def settings(tmp_path, *, key: str = "first", level: str = "warning", pace: int = 50, more: str = ""):
    """Writes the settings file and the key of its tenant."""
    (tmp_path / "key").write_text(key)
    file = tmp_path / "tokengrpc.toml"
    file.write_text(
        f'log_level = "{level}"\n[[models]]\nname = "m"\nkind = "builtin"\npace = {pace}\n'
        f'[[tenants]]\nname = "search"\nkey_file = "{tmp_path / "key"}"\n{more}'
    )
    return file


def lines(server, event: str) -> list[dict]:
    found = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
    return [line for line in found if line["event"].startswith(event)]


def reload(server, event: str) -> dict:
    """Sends SIGHUP, and waits for another line of the log."""
    before = len(lines(server, event))
    server.process.send_signal(signal.SIGHUP)
    return until(lambda: lines(server, event)[before:], event)[0]


@pytest.fixture
def server(tmp_path):
    # This flag stands above the file's level.
    with serving("--config", str(settings(tmp_path)), "--log-level", "info") as started:
        yield started


def test_keys_change_under_a_running_stream(server, tmp_path):
    """The stream ends as it would have. New calls need the new key."""
    first, second = {"TOKENGRPC_TOKEN": "first"}, {"TOKENGRPC_TOKEN": "second"}
    assert server("models", **second).returncode == 1
    call = ("stream", "a", "--max-tokens", "100")
    with running(*call, variables={"TOKENGRPC_TARGET": server.target} | first) as stream:
        assert stream.stdout.read(1)
        settings(tmp_path, key="second")
        assert "tenants" in reload(server, "reloaded")["settings"]
        assert server("models", **first).returncode == 1
        assert server("models", **second).returncode == 0
        _, err = stream.communicate()
    assert stream.returncode == 0
    assert err.decode().startswith("100 tokens, ")


def test_tenants_come_and_go(server, tmp_path):
    """With their keys."""
    (tmp_path / "other").write_text("theirs")
    assert server("models", TOKENGRPC_TOKEN="theirs").returncode == 1
    settings(tmp_path, more=f'[[tenants]]\nname = "other"\nkey_file = "{tmp_path / "other"}"\n')
    reload(server, "reloaded")
    assert server("models", TOKENGRPC_TOKEN="theirs").returncode == 0
    settings(tmp_path)
    reload(server, "reloaded")
    assert server("models", TOKENGRPC_TOKEN="theirs").returncode == 1


def test_wrong_settings_change_nothing(server, tmp_path):
    """The log says what is wrong, and the server serves on: a wrong file, a missing key, no tenants."""
    settings(tmp_path, pace=-1)
    assert "models[0].pace: must be" in reload(server, "the settings are not reloaded")["error"]
    settings(tmp_path)
    (tmp_path / "key").unlink()
    assert "cannot be read" in reload(server, "a part of the settings is not reloaded")["error"]
    (tmp_path / "tokengrpc.toml").write_text('[[models]]\nname = "m"\nkind = "builtin"\n')
    assert "by a restart" in reload(server, "a part of the settings is not reloaded")["error"]
    assert server("models", TOKENGRPC_TOKEN="first").returncode == 0
    assert server("models").returncode == 1
    assert server.stop() == 0


def test_settings_that_need_a_restart_are_named(server, tmp_path):
    """They are not applied."""
    settings(tmp_path, pace=1000, more="[limits]\nmax_generations = 1\n")
    assert reload(server, "these settings have changed")["settings"] == "limits, models"


def test_the_log_level_changes(tmp_path):
    """As the file says, while no flag or variable stands above it."""
    command = ("serve", "--listen", "127.0.0.1:0", "--config", str(settings(tmp_path, level="error")))
    log = tmp_path / "log"
    with log.open("wb") as stderr, running(*command, stderr=stderr) as process:
        target = process.stdout.readline().decode().split()[-1]
        logged = Server(process, target, log)

        def calls() -> int:
            assert logged("models", TOKENGRPC_TOKEN="first").returncode == 0
            return len(lines(logged, "call"))

        assert calls() == 0
        settings(tmp_path, level="info")
        reload(logged, "reloaded")
        until(lambda: calls() > 0, "a line of a call")


def test_a_signal_during_the_drain_is_ignored(tmp_path):
    """The stream ends well, and so does the process."""
    with serving("--config", str(settings(tmp_path)), "--pace", "20") as server:
        call = ("stream", "a", "--max-tokens", "40")
        variables = {"TOKENGRPC_TARGET": server.target, "TOKENGRPC_TOKEN": "first"}
        with running(*call, variables=variables) as stream:
            assert stream.stdout.read(1)
            server.process.send_signal(signal.SIGTERM)
            server.process.send_signal(signal.SIGHUP)
            _, err = stream.communicate()
        assert err.decode().startswith("40 tokens, ")
        assert server.process.wait(60) == 0


async def test_engines_get_new_keys(tmp_path):
    """From the file that their settings name, for requests from now on."""
    key = tmp_path / "engine-key"
    key.write_text("old")
    async with (
        ScriptedEngine() as engine,
        harness.serving(upstream(engine.base_url, api_key_file=str(key))) as served,
    ):
        for text in ("old", "new"):
            engine.script(Text("a"), Finish(), UsageChunk(), Done())
            key.write_text(text)
            await reload_settings(served.server, lambda: served.server.settings)
            assert (await collect(served.stream())).code.name == "OK"
            call = await engine.called()
            assert call.headers["authorization"] == f"Bearer {text}"


def test_prices_apply_to_generations_that_begin_later(server, tmp_path):
    """A stream that runs keeps the price that it began with: here none. The next one has the new price."""
    priced = '[[prices]]\nmodel = "m"\ninput = "1"\noutput = "2"\nversion = "new"\n'
    key = {"TOKENGRPC_TOKEN": "first"}
    call = ("stream", "a", "--max-tokens", "100", "--id", "old")
    with running(*call, variables={"TOKENGRPC_TARGET": server.target} | key) as stream:
        assert stream.stdout.read(1)
        settings(tmp_path, more=priced)
        assert "prices" in reload(server, "reloaded")["settings"]
        _, err = stream.communicate()
    assert stream.returncode == 0
    assert b"cost" not in err
    assert server("stream", "a", "--max-tokens", "3", "--id", "new", **key).returncode == 0
    costs = [
        json.loads(server("get", id_, "--json", **key).stdout)["finished"].get("cost")
        for id_ in ("old", "new")
    ]
    assert costs == [None, {"amount_micros": "14", "currency": "USD", "price_version": "new"}]


def test_limits_change_under_a_running_stream(server, tmp_path):
    """The stream ends as it would have. New limits hold for calls from then on."""
    first = {"TOKENGRPC_TOKEN": "first"}
    variables = {"TOKENGRPC_TARGET": server.target} | first
    with running("stream", "a", "--max-tokens", "100", variables=variables) as stream:
        assert stream.stdout.read(1)
        settings(tmp_path, more="max_output_token_count = 5\n[[tenants.budgets]]\ntokens = 1\n")
        assert "tenants" in reload(server, "reloaded")["settings"]
        assert "BUDGET_EXHAUSTED: tenant search has spent its" in server("stream", "a", **first).stderr
        _, err = stream.communicate()
    assert err.decode().startswith("100 tokens, ")
    settings(tmp_path, more="max_output_token_count = 5\n[[tenants.budgets]]\ntokens = 1000\n")
    reload(server, "reloaded")
    assert server("stream", "a", **first).stderr.startswith("5 tokens, ")
