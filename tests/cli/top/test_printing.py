"""`top` without a screen: one interval as JSON or as a table, and the exit codes."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.admin_pages import ADMIN
from tests.support.commands import CLOSED, PROGRAM, environment, running, shell, tokengrpc
from tests.support.counted_calls import Calls
from tests.support.counted_load import Load
from tests.support.harness import Served, serving, until, upstream
from tests.support.script_steps import Done, Finish, Stall, Text, UsageChunk
from tests.support.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from tests.support.scripted_engine import ScriptedEngine

EACH = 3


class Gate(TcpProxy):
    """A proxy to an admin port that lets the first request pass, and holds the others until it is opened."""

    def __init__(self, upstream_port: int) -> None:
        super().__init__(upstream_port)
        self.opened = asyncio.Event()

    async def send_up(self, *ends: Any) -> None:
        """See `Relay`."""
        if self.accepted_count > 1:
            await self.opened.wait()
        await super().send_up(*ends)


def admin(server: Served) -> str:
    return f"127.0.0.1:{server.server.admin.http_port}"


async def top(*arguments: str) -> tuple[int | None, str, str]:
    """Runs `top` beside this event loop, and returns exit code, output and errors."""
    process = await asyncio.create_subprocess_exec(
        *(*PROGRAM, "top", *arguments),
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_an_interval_is_what_callers_counted_in_it(engine: ScriptedEngine) -> None:
    """Answers, failures, cancels, callers that left, rejected calls. What happened before does not count."""
    engine.script(Text("Well", " said"), Finish(), UsageChunk(), Done(), model="good")
    engine.script(Text("Well"), model="cut")
    engine.script(Text("Well"), Stall(), model="slow")
    names = ("good", "cut", "slow")
    models = [upstream(engine.base_url, name=name, upstream_model=name) for name in names]
    calls = Calls()
    async with (
        serving(*models, admin_listen=ADMIN, observers=(calls,)) as server,
        Gate(server.server.admin.http_port) as gate,
    ):
        await Load(server, calls).succeed("before")
        shown = asyncio.create_task(top("--admin", gate.target, "--once", "--json", "--interval", "0.1"))
        await until(lambda: gate.accepted_count > 1, "the first sample was taken")
        load = Load(server, calls)
        kinds = [load.succeed, load.leave, load.cancel, load.be_rejected]
        await asyncio.gather(load.each(2, load.fail), load.each(EACH, *kinds))
        await until(lambda: not server.server.admission.active and not calls.running, "all has ended")
        gate.opened.set()
        code, out, err = await shown
    assert (code, err) == (0, "")
    found = json.loads(out)

    def counted(name: str, **labels: str) -> float:
        wanted = set(labels.items())
        return sum(value for (key, of), value in load.counted.items() if key == name and wanted <= of)

    for model in names:
        figures = found["models"][model]
        assert figures["admitted"] == counted("tokengrpc_request_admitted_total", model=model)
        assert figures["succeeded"] == counted("tokengrpc_request_success_total", model=model)
        cancelled = counted("tokengrpc_request_failure_total", model=model, reason="CANCELLED")
        assert figures["cancelled"] == cancelled
        failed = counted("tokengrpc_request_failure_total", model=model) - cancelled
        assert figures["failed"] == failed
        tokens = counted("tokengrpc_generation_tokens_total", model=model)
        assert figures["tokens"] == figures["engines"][model]["tokens"] == tokens > 0
        assert figures["tokens_per_second"] == pytest.approx(tokens / found["seconds"])
        first = counted("tokengrpc_time_to_first_token_seconds_count", model=model)
        assert figures["time_to_first_token_seconds"]["count"] == first
    for reason, kinds_of in found["errors"].items():
        assert kinds_of["calls"] == counted("tokengrpc_call_errors_total", reason=reason)
        assert kinds_of["generations"] == counted("tokengrpc_request_failure_total", reason=reason)
        assert kinds_of["engine_calls"] == counted("tokengrpc_engine_errors_total", reason=reason)
    assert {"INVALID_REQUEST", "MODEL_NOT_FOUND", "CANCELLED", "ENGINE_TRUNCATED"} == set(found["errors"])
    assert found["total"]["admitted"] == EACH * 3 + 2
    assert (found["total"]["streams"], found["servers"][0]["state"]) == (0, "serving")


async def test_two_servers_are_added_up() -> None:
    """With each one beside the sum. One that cannot be reached is said on stderr."""
    async with serving(admin_listen=ADMIN) as one, serving(admin_listen=ADMIN) as other:
        addresses = [admin(one), admin(other), CLOSED]
        options = [option for address in addresses for option in ("--admin", address)]
        code, out, err = await top(*options, "--once", "--json", "--interval", "0.1")
    found = json.loads(out)
    assert code == 0
    assert [server["admin"] for server in found["servers"]] == addresses
    assert [server["state"] for server in found["servers"]] == ["serving", "serving", "unreachable"]
    assert found["servers"][2]["error"] == "nothing listens there"
    assert found["total"]["breakers"] == {"closed": 2, "half_open": 0, "open": 0}
    assert err.startswith(f"error: {CLOSED} cannot be reached (nothing listens there): start the server with")
    assert abs(datetime.fromisoformat(found["time"]) - datetime.now(UTC)).total_seconds() < 60


async def test_a_table_is_printed_without_a_terminal() -> None:
    """Once, or for each interval until its reader leaves."""
    async with serving(admin_listen=ADMIN) as server:
        code, out, err = await top("--admin", admin(server), "--once", "--interval", "0.1")
        assert (code, err) == (0, "")
        assert re.search(
            rf"^tokengrpc top  {admin(server)}  serving, up \S+ +\d\d:\d\d:\d\d$", out, re.MULTILINE
        )
        assert re.search(r"^builtin +0 +0 +0 +0 +- +- +- +- +closed", out, re.MULTILINE)
        line = f"top --admin {admin(server)} --interval 0.1 | head -30"
        done = await asyncio.to_thread(shell, f"{line} | grep -c 'tokengrpc top'")
    assert int(done.stdout) > 1
    assert done.stderr == ""


async def test_json_goes_on_until_it_is_interrupted() -> None:
    """A line for each interval."""
    async with serving(admin_listen=ADMIN) as server:
        with running("top", "--admin", admin(server), "--json", "--interval", "0.1") as process:
            assert process.stdout is not None
            lines = [json.loads(await asyncio.to_thread(process.stdout.readline)) for _ in range(3)]
            process.send_signal(2)
            assert await asyncio.to_thread(process.wait, 20) == 130
    assert [line["total"]["streams"] for line in lines] == [0, 0, 0]


def test_no_server_at_all_is_an_error() -> None:
    """The exit code says so, after the output."""
    done = tokengrpc("top", "--admin", CLOSED, "--once", "--json", "--interval", "0.1")
    assert done.returncode == 1
    assert json.loads(done.stdout)["servers"][0]["state"] == "unreachable"
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--admin", "nowhere"], "Invalid value for --admin: must be HOST:PORT, such as 127.0.0.1:9090"),
        (["--admin", "a:b"], "Invalid value for --admin: must be HOST:PORT, such as 127.0.0.1:9090"),
        (["--admin", "http://a:1"], "Invalid value for --admin: must be HOST:PORT, such as 127.0.0.1:9090"),
        (["--interval", "0"], "Invalid value for '--interval': must be from 0.1 to 3600"),
    ],
)
def test_wrong_options_are_one_line(arguments: list[str], message: str) -> None:
    """And exit code 2."""
    done = tokengrpc("top", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {message}. See `tokengrpc top --help`\n"
