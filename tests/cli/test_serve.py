"""`tokengrpc serve` and `tokengrpc config`: effective settings, readiness, hints and shutdown."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import socket
import subprocess
import tomllib

import pytest

from tests.support.admin_pages import fetch
from tests.support.commands import running, serving, tokengrpc, until
from tests.support.paths import ROOT
from tests.support.versions import VERSION


def test_wrong_settings_are_one_line_and_exit_code_2(tmp_path):
    """The wrong setting is in a file, a variable or a flag, or only the starting server detects it."""
    file = tmp_path / "tokengrpc.toml"
    file.write_text("[limits]\nmax_reader = 3\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taken_address = f"127.0.0.1:{taken.getsockname()[1]}"
        cases = [
            (
                ["--config", str(file)],
                {},
                f"{file}: limits.max_reader: unknown key; did you mean `max_readers`?",
            ),
            ([], {"TOKENGRPC_PACE": "fast"}, "TOKENGRPC_PACE: must be a number of at least 0 "),
            (["--listen", "here"], {}, "--listen: must be HOST:PORT, "),
            (["--listen", taken_address], {}, f"listen: {taken_address} is in use "),
        ]
        for arguments, variables, message in cases:
            done = tokengrpc("serve", *arguments, **variables)
            assert (done.returncode, done.stdout) == (2, "")
            assert done.stderr.startswith(f"error: {message}")
            assert done.stderr.count("\n") == 1


def test_a_port_that_an_outgoing_connection_may_hold():
    """The system takes the port of a socket that is bound to port 0 from its range for connections."""
    hint = "Outgoing connections take ports from"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        held = tokengrpc("serve", "--listen", address).stderr
        taken.listen()
        served = tokengrpc("serve", "--listen", address).stderr
    assert hint in held
    assert hint not in served
    assert held.count("\n") == served.count("\n") == 1


def test_config_shows_effective_settings_and_their_sources(tmp_path):
    """`config` takes the flags of `serve` and prints TOML without secrets."""
    file = tmp_path / "tokengrpc.toml"
    file.write_text(
        'log_level = "error"\n[[models]]\nname = "a"\nkind = "replay"\noptions = {token = "s3cret"}\n'
    )
    done = tokengrpc("config", "--config", str(file), "--listen", "127.0.0.1:0", TOKENGRPC_TIME_LIMIT="3")
    assert (done.returncode, done.stderr) == (0, "")
    assert "s3cret" not in done.stdout
    settings = tomllib.loads(done.stdout)
    assert (settings["listen"], settings["log_level"], settings["models"][0]["time_limit"]) == (
        "127.0.0.1:0",
        "error",
        3,
    )
    for line in ("(--listen)", "(TOKENGRPC_TIME_LIMIT)", f"({file})", "(default)"):
        assert line in done.stdout
    assert tokengrpc("config", "--pace", "-1").stderr.startswith(
        "error: --pace: must be a number of at least 0 "
    )


def test_the_help_of_serve_describes_the_values_of_flags():
    """The help shows types, choices and defaults."""
    text = tokengrpc("serve", "--help", NO_COLOR="1").stdout
    for line in (
        "--listen HOST:PORT ",
        "--log-format auto|console|json ",
        "--pace NUMBER ",
        "--base-url URL ",
        "--faults JSON ",
        "--allow-request-faults true|false\n",
    ):
        assert line in text
    one_line = " ".join(text.split())
    assert "[default: 127.0.0.1:50051]" in one_line
    assert "[default: 5.0]" in one_line
    assert "FaultSettings" not in text


def test_make_run_takes_a_port():
    """Another program may already use the default port 50051."""
    if shutil.which("make") is None:
        pytest.skip("no make here")
    done = subprocess.run(
        ["make", "--dry-run", "run", "PORT=50052"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "tokengrpc serve --listen 127.0.0.1:50052 " in done.stdout
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = tokengrpc("serve", "--listen", f"127.0.0.1:{taken.getsockname()[1]}", "--hints")
    assert done.returncode == 2
    assert done.stderr.endswith(" (make run: PORT=NUMBER)\n")


def test_hints_can_be_pasted():
    """The first command streams from the server that printed it. Lines fit into 80 columns."""
    with running("serve", "--listen", "127.0.0.1:0", "--log-level", "error", "--hints") as process:
        target = process.stdout.readline().decode().split()[-1]
        lines = []
        while "--base-url" not in (lines or [""])[-1]:
            lines.append(process.stderr.readline().decode().strip("\n"))
        stream = next(line for line in lines if " stream " in line)
        command = [*shlex.split(stream), "--max-tokens", "3"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0
        assert done.stderr.startswith("3 tokens, ")
        number = next(number for number, line in enumerate(lines) if line.startswith("  grpcurl -plaintext "))
        call, rest = lines[number : number + 2]
        assert call.endswith(" \\")
        assert rest == f"    {target} tokenstreaming.v1.TokenStream/StreamTokens"
        assert max(len(call), len(rest)) <= 80


def test_a_draining_server_is_not_serving_and_exits_with_0():
    """Probes fail immediately, the active stream finishes, and then the process exits."""
    with serving("--pace", "20") as server:
        with server.running("stream", "a", "--max-tokens", "120") as stream:
            first = stream.stdout.read(1)
            server.process.send_signal(signal.SIGTERM)
            until(lambda: server("probe").returncode == 4, "not serving")
            refused = server("stream", "b", "--patience", "0")
            out, err = stream.communicate()
        assert (stream.returncode, err.decode().split(",")[0]) == (0, "120 tokens")
        assert len(first + out) > 120
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr.startswith("error: UNAVAILABLE DRAINING: ")
        assert server.process.wait(30) == 0


def test_the_log_says_what_is_served(tmp_path):
    """For operators; scripts read the address from stdout."""
    file = tmp_path / "tokengrpc.toml"
    file.write_text(
        '[[models]]\nname = "m"\n[[models.engines]]\nname = "a"\nkind = "openai"\n'
        'base_url = "http://127.0.0.1:9/v1"\n[[models.engines]]\nname = "b"\nkind = "builtin"\n'
    )
    options = ("--config", str(file), "--log-level", "info", "--log-format", "json")
    with serving(*options, "--admin-listen", "127.0.0.1:0") as server:
        (line,) = [json.loads(row) for row in server.log().splitlines() if '"serving"' in row]
        port = int(line["admin_listen"].rpartition(":")[2])
        assert fetch(port, "/readyz")[0] == 200
        assert (line["event"], line["level"], line["version"]) == ("serving", "info", VERSION)
        assert line["listen"] == server.target
        assert line["models"] == {"m": "a (openai), b (builtin)"}
        assert server("stream", "hello", "--max-tokens", "2", "--id", "g").returncode == 0
        assert server.stop() == 0
        lines = {line["event"]: line for line in map(json.loads, server.log().splitlines())}
    assert lines["generation"]["generation_id"] == lines["call"]["generation_id"] == "g"
    assert lines["generation"]["caller"] == lines["call"]["caller"]


def test_ctrl_c_ends_an_idle_server_at_once():
    """Ctrl-C works like SIGTERM. The exit code is 0."""
    with serving() as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 0
