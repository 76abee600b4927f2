"""The live screen on a real terminal: keys, sizes, signals, and servers that come and go under load."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support import engine_process
from tests.support.commands import Server, serving, until
from tests.support.ports import reserved_port
from tests.support.terminals import Terminal, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

FAST = ("--interval", "0.2")
CALLERS = 3
MODEL = "llama"


def address() -> str:
    return f"127.0.0.1:{reserved_port()}"


@contextmanager
def endless_engine() -> Iterator[str]:
    """Starts an engine whose answers are as long as they may be, and yields its base URL."""
    port = reserved_port()
    command = (sys.executable, "-I", engine_process.__file__, "0.05")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(b"%d\n" % port)
        process.stdin.flush()
        assert process.stdout.readline().startswith(b"%d " % port)
        yield f"http://127.0.0.1:{port}/v1"
        process.communicate()  # closes its input, which ends it


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    with endless_engine() as url:
        yield url


def start(engine: str, admin: str) -> AbstractContextManager[Server]:
    """Starts a server on an engine. It counts the tokens of running generations twice a second."""
    options = ("--admin-listen", admin, "--base-url", engine, "--model", MODEL, "--dialect", "vllm")
    return serving(*options, TOKENGRPC_LIMITS_WRITE_STALL_TIMEOUT="4")


@contextmanager
def load(server: Server) -> Iterator[None]:
    """Callers that stream long answers, whose beginnings they have."""
    with ExitStack() as callers:
        calls = [
            callers.enter_context(server.running("stream", f"question {number}", "--max-tokens", "100000"))
            for number in range(CALLERS)
        ]
        assert all(call.stdout.read(1) for call in calls)
        yield


@pytest.fixture(scope="module")
def admin(engine: str) -> Iterator[str]:
    """The admin port of a server with callers."""
    port = address()
    with start(engine, port) as server, load(server):
        yield port


def test_a_server_under_load(admin: str) -> None:
    """Streams, running calls and the latencies of one who looks; the screen is restored at the end."""
    with Terminal("top", "--admin", admin, *FAST, columns=80, rows=24) as terminal:
        terminal.wait_for(rf"^streams {CALLERS}  running {CALLERS}  queued 0")
        terminal.wait_for(r"^tokens/s  [1-9]")
        terminal.wait_for(r"^ITL +p50 [1-9]\d* ms +p99 [1-9]\d* ms +[▁▂▃▄▅▆▇█]")
        terminal.wait_for(rf"^{MODEL} +{CALLERS} +{CALLERS} +0 +[1-9]\d* .* closed$")
        assert terminal.lines[0].startswith(f"tokengrpc top  {admin}  serving, up ")
        terminal.press("q")
        assert terminal.process.wait(20) == 0
        until(terminal.is_restored, "the terminal is restored")


def test_keys_change_what_is_shown(admin: str) -> None:
    """Servers, window, order, help, filter."""
    with Terminal("top", "--admin", admin, *FAST, columns=80, rows=24) as terminal:
        terminal.wait_for("^MODEL +STREAMS")
        terminal.press("s")
        terminal.wait_for(rf"^SERVER +STREAMS.*\n{admin} +{CALLERS} .* serving$")
        terminal.press("s")
        terminal.wait_for("^MODEL +STREAMS")
        terminal.press(">\x1b[Cr")  # right
        terminal.wait_for("<> sort: RUN reversed")
        terminal.press("?")
        terminal.wait_for("^w +the last minute or the last interval$")
        terminal.press("\x1b")
        terminal.wait_for("^MODEL +STREAMS")
        terminal.press("/lla")
        terminal.wait_for("^filter: lla_")
        terminal.press("x\r")
        terminal.wait_for("/ filter: llax")
        assert not any(line.startswith(MODEL) for line in terminal.lines)
        terminal.press("w")
        terminal.wait_for("w minute")
        terminal.press("\x1b")
        terminal.wait_for(f"^{MODEL} ")


def test_a_small_terminal_has_the_figures(admin: str) -> None:
    """40 columns and 10 rows."""
    with Terminal("top", "--admin", admin, *FAST, columns=40, rows=10) as terminal:
        terminal.wait_for(rf"^{MODEL} +{CALLERS} ")
        assert terminal.lines[-1].startswith("q quit  ? help")


def test_the_size_changes(admin: str) -> None:
    """The screen is laid out anew at once."""
    with Terminal("top", "--admin", admin, *FAST, columns=120, rows=30) as terminal:
        terminal.wait_for("BREAKER TOKENS/S, 1 MIN")
        terminal.resize(50, 12)
        terminal.wait_for("^MODEL +STREAMS .*p99$")
        until(lambda: terminal.lines[-1].startswith("q quit"), "the keys are in the last line")
        terminal.resize(132, 40)
        terminal.wait_for("BREAKER TOKENS/S, 1 MIN")
        until(lambda: terminal.lines[39].startswith("q quit"), "the keys are in the last line")


@pytest.mark.parametrize(("stop", "code"), [("\x03", 130), (signal.SIGTERM, 143)])
def test_signals_restore_the_terminal(admin: str, stop: str | signal.Signals, code: int) -> None:
    """Ctrl-C, and SIGTERM. On xterm, the main screen is back."""
    with Terminal("top", "--admin", admin, *FAST, columns=80, rows=24, TERM="xterm") as terminal:
        until(lambda: MODEL.encode() in terminal.output, "the screen is drawn")
        assert not terminal.is_restored()
        if isinstance(stop, str):
            terminal.press(stop)
        else:
            terminal.process.send_signal(stop)
        assert terminal.process.wait(20) == code
        until(terminal.is_restored, "the terminal is restored")
        until(lambda: b"\x1b[?1049l" in terminal.output, "the main screen is shown")


def test_a_killed_server_comes_back(engine: str) -> None:
    """Its absence is shown with the time, then its restart. Nobody presses a key."""
    admin = address()
    with Terminal("top", "--admin", admin, *FAST, columns=100, rows=24) as terminal:
        terminal.wait_for(rf"^{admin} unreachable since \d\d:\d\d:\d\d: nothing listens there$")
        with pytest.raises(AssertionError, match="the server died"):
            kill_under_load(engine, admin, terminal)
        with start(engine, admin) as server:
            terminal.wait_for(rf"^{admin} was restarted before \d\d:\d\d:\d\d$")
            with load(server):
                terminal.wait_for(rf"^streams {CALLERS} ")
                server.process.send_signal(signal.SIGTERM)
                terminal.wait_for(rf"^{admin} draining since ")


def kill_under_load(engine: str, admin: str, terminal: Terminal) -> None:
    """Runs a server with callers, and kills it once the terminal shows them. Raises AssertionError."""
    with start(engine, admin) as server, load(server):
        terminal.wait_for(rf"^streams {CALLERS} ")
        terminal.wait_for(r"^tokens/s  [1-9]")
        server.process.kill()
        terminal.wait_for(rf"^{admin} unreachable since ")
        assert terminal.lines[1].startswith("streams 0  running 0")
        server.process.wait()


def test_errors_and_breakers_of_a_lost_engine() -> None:
    """Reasons with counts for calls, generations and calls of engines; the open circuit breaker."""
    admin = address()
    with ExitStack() as engine, ExitStack() as rest:
        server = rest.enter_context(start(engine.enter_context(endless_engine()), admin))
        rest.enter_context(load(server))
        terminal = rest.enter_context(Terminal("top", "--admin", admin, *FAST, columns=80, rows=24))
        terminal.wait_for(rf"^streams {CALLERS} ")
        engine.close()
        terminal.wait_for("^ERRORS +CALLS GENERATIONS ENGINE CALLS STREAMS$")
        terminal.wait_for(rf"^ENGINE_LOST +{CALLERS} +{CALLERS} +{CALLERS}$")
        terminal.wait_for(rf"^{MODEL} +0 +0 .* (open|half)$")
        assert server("stream", "hello").returncode == 1
        terminal.wait_for("^ENGINE_UNAVAILABLE +1 +1 +1$")


def test_two_servers_are_one_screen(engine: str, admin: str) -> None:
    """The sum, and a row for each."""
    other = address()
    with (
        start(engine, other) as server,
        load(server),
        Terminal("top", "--admin", admin, "--admin", other, *FAST, columns=80, rows=24) as terminal,
    ):
        terminal.wait_for("2 servers: 2 serving")
        terminal.wait_for(rf"^streams {2 * CALLERS}  running {2 * CALLERS} ")
        terminal.press("s")
        for each in (admin, other):
            terminal.wait_for(rf"^{each} +{CALLERS} .*serving$")


def test_styles_can_be_disabled(admin: str) -> None:
    """By NO_COLOR. Otherwise there are some."""
    styles = re.compile(rb"\x1b\[[\d;]*[1-9][\d;]*m")
    for variables, expected in (({}, True), ({"NO_COLOR": "1"}, False)):
        with Terminal("top", "--admin", admin, *FAST, columns=80, rows=24, **variables) as terminal:
            terminal.wait_for(f"^{MODEL} ")
            assert bool(styles.search(terminal.output)) is expected


def test_a_terminal_in_ascii_has_ascii_bars(admin: str) -> None:
    """By its locale."""
    with Terminal("top", "--admin", admin, *FAST, columns=80, rows=24, LC_ALL="C") as terminal:
        terminal.wait_for(r"^ITL +p50 \S+ ms +p99 \S+ ms +[-_.=+*%#]+ up to")
        assert all(line.isascii() for line in terminal.lines)


@pytest.mark.parametrize("kind", ["dumb", "no-such-terminal"])
def test_a_terminal_without_a_cursor_gets_tables(admin: str, kind: str) -> None:
    """One after another."""
    with Terminal("top", "--admin", admin, *FAST, columns=80, rows=60, TERM=kind) as terminal:
        terminal.wait_for(rf"(?s)^tokengrpc top .*^{MODEL} .*^tokengrpc top ")
        assert b"\x1b" not in terminal.output


def test_a_closed_terminal_ends_it(admin: str) -> None:
    """It does not poll for nobody, even if it ignores the hangup signal."""
    deaf = ("env", "--ignore-signal=HUP")
    with Terminal("top", "--admin", admin, *FAST, columns=80, rows=24, prefix=deaf) as terminal:
        terminal.wait_for(f"^{MODEL} ")
        terminal.close()
        assert terminal.process.wait(20) == 1


def test_once_fits_a_terminal(admin: str) -> None:
    """A table of its width."""
    lines = shown("top", "--admin", admin, "--once", columns=50)
    assert max(map(len, lines)) <= 50
    assert any(line.startswith(f"{MODEL} ") for line in lines)
