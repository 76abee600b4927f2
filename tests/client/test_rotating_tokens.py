"""Clients whose token changes: a function returns the current one for each call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.commands import serving as serving_process
from tests.support.harness import serving, upstream
from tests.support.scripted_engine import Done, Finish, Pause, ScriptedEngine, Text, UsageChunk
from tests.support.tcp_proxy import TcpProxy
from tokengrpc import NotAllowedError, ResumePolicy, SyncTokenStreamClient, TokenStreamClient
from tokengrpc.config import TenantSettings

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 100))
POLICY = ResumePolicy(initial_backoff=0.001, max_backoff=0.02)


async def test_a_stream_resumes_with_the_token_of_then(tmp_path: Path) -> None:
    """The one that it began with is not accepted any more. The running call was not cut by that."""
    key, held, sent = tmp_path / "key", Pause(), []
    key.write_text("old")

    def current() -> str:
        sent.append(key.read_text())
        return sent[-1]

    async with (
        ScriptedEngine() as engine,
        serving(upstream(engine.base_url), tenants=(TenantSettings(name="a", key_file=str(key)),)) as served,
        TcpProxy(served.server.port) as proxy,
        TokenStreamClient(proxy.target, token=current, options=OPTIONS, policy=POLICY) as client,
    ):
        engine.script(Text("one ", "two "), held, Text("three"), Finish(), UsageChunk(), Done())
        texts = []
        async for token in client.stream("hello"):
            texts.append(token.text)
            if token.text == "two ":
                key.write_text("new")
                served.server.authenticator.reload(served.server.settings)
                proxy.cut()
                held.release()
        assert "".join(texts) == "one two three"
        assert await client.models()
    assert (sent[0], sent[-2:]) == ("old", ["new", "new"])


async def test_a_token_that_cannot_be_had_is_an_error() -> None:
    """It says whose function failed, and nothing of the token. The client can be used and closed."""

    def failing() -> str:
        raise FileNotFoundError("/secret/path")

    because = r"the token failed \(FileNotFoundError\): see its cause"
    async with TokenStreamClient("127.0.0.1:1", token=failing, options=OPTIONS) as client:
        with pytest.raises(NotAllowedError, match=because) as caught:
            await client.models()
        assert isinstance(caught.value.__cause__, FileNotFoundError)
        with pytest.raises(NotAllowedError, match=because):
            await anext(aiter(client.stream("hello")))
    with SyncTokenStreamClient("127.0.0.1:1", token=failing, options=OPTIONS) as blocking:
        with pytest.raises(NotAllowedError, match=because):
            blocking.models()
        with pytest.raises(NotAllowedError, match=because):
            next(iter(blocking.stream("hello")))


def test_commands_read_a_file_for_each_call(tmp_path: Path) -> None:
    """A wrong one is one line."""
    key, file = tmp_path / "key", tmp_path / "token"
    key.write_text("first")
    file.write_text("first\n")
    settings = tmp_path / "tokengrpc.toml"
    settings.write_text(f'[[tenants]]\nname = "a"\nkey_file = "{key}"\n')
    with serving_process("--config", str(settings)) as server:
        assert server("models", "--token-file", str(file)).returncode == 0
        assert server("models", TOKENGRPC_TOKEN_FILE=str(file)).returncode == 0
        file.write_text("other")
        assert "UNAUTHENTICATED" in server("models", "--token-file", str(file)).stderr
        file.write_text(" ")
        done = server("models", "--token-file", str(file))
        assert (done.returncode, f"{file} is empty" in done.stderr) == (2, True)
        done = server("models", "--token-file", str(tmp_path / "none"))
        assert (done.returncode, "cannot be read: No such file" in done.stderr) == (2, True)
