"""Commands that make one call: what they print, how they fail, and their exit codes."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

import pytest

from tests.support.commands import CLOSED, serving, tokengrpc

COMMANDS = ["serve", "stream", "chat", "count", "models", "get", "cancel", "usage", "probe", "top", "config"]


@pytest.fixture(scope="module")
def server():
    with serving("--pace", "200") as started:
        yield started


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    """`--help` of each command works."""
    done = tokengrpc(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Usage: tokengrpc {command}" in done.stdout


def test_help_lists_commands_and_exit_codes():
    """`tokengrpc` without arguments prints the same help."""
    done = tokengrpc()
    assert done.returncode == 0
    assert done.stdout == tokengrpc("--help").stdout
    assert all(f" {command} " in done.stdout for command in COMMANDS)
    assert "  130  interrupted" in done.stdout


def test_version():
    """`--version` prints the version of the package."""
    assert tokengrpc("--version").stdout.startswith("tokengrpc 0.")


def test_client_commands_do_not_import_the_server():
    """Importing the server's modules would slow down every client command."""
    code = (
        "import sys, importlib\n"
        "for name in ('app', 'stream', 'chat', 'lookups', 'probe', 'top.live', 'top.printing'):\n"
        "    importlib.import_module(f'tokengrpc.cli.{name}')\n"
        "heavy = {'aiohttp', 'tiktoken', 'uvloop', 'structlog', 'msgspec', 'rich.table'}\n"
        "print(*sorted((heavy | {'tokengrpc.server'}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve", "--otlp"], "--otlp needs a value. See `tokengrpc serve --help`"),
        (["strem"], "No such command 'strem'. Did you mean 'stream'? See `tokengrpc --help`"),
        (["stream"], "PROMPT: is missing: give the text, or pipe it in. See `tokengrpc stream --help`"),
        (["stream", "a", "--resume", "b"], "give either a prompt or --resume"),
        (["stream", "a", "--after", "3"], "only with --resume ID"),
        (["stream", "a", "--timeout", "0"], "must be more than 0 seconds"),
        (["stream", "a", "--max-tokens", "0"], "must be from 1 to 2147483647"),
        (["stream", "a", "--max-tokens", "2147483648"], "must be from 1 to 2147483647"),
        (["stream", "a", "--seed", "9" * 20], "must be from -9223372036854775807 to 9223372036854775807"),
        (["stream", "a", "--switches", "-1"], "must be from 0 to 2147483647"),
        (["stream", "--resume", "a", "--after", "9999999999"], "must be from 0 to 2147483647"),
        (["stream", ""], "is empty"),
        (["stream", "-"], "is empty"),
        (["stream", "a", "--nonsense"], "No such option: --nonsense"),
        (["stream", "a", "--show", "b"], "Invalid value for '--show': 'b' is not one of 'timing'. See"),
        (["stream", "a", "--timeout", "2s"], "Invalid value for '--timeout': must be a number. See"),
        (["stream", "a", "--seed", "x"], "Invalid value for '--seed': must be a whole number. See"),
        (["stream", "a", "b", "c"], "Unexpected: b c (put a text of several words in quotes). See"),
        (["count"], "PROMPT: is missing: give the text, or pipe it in."),
        (["models", "--token-env", "NO_SUCH"], "the environment variable NO_SUCH is not set"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments, message):
    """The line says what is wrong and which command shows the help."""
    done = tokengrpc(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("one\ntwo", "has a line break or another control character"),
        ("schlüssel", "has a character that is not ASCII"),
        ("Bearer one", "begins with `Bearer`"),
    ],
)
def test_a_text_that_is_no_token_is_one_line(tmp_path, token, why):
    """It would be no metadata, and gRPC's error would show it."""
    (tmp_path / "token").write_text(token)
    for named, where in (
        ("TOKENGRPC_TOKEN", {"TOKENGRPC_TOKEN": token}),
        (f"{tmp_path / 'token'}", {"TOKENGRPC_TOKEN_FILE": str(tmp_path / "token")}),
    ):
        done = tokengrpc("models", **where)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"{named} {why}" in done.stderr
        assert token not in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("module", ["tokengrpc.cli.app", "tokengrpc.cli.lookups", "grpc"])
def test_ctrl_c_during_the_imports_shows_no_traceback(module):
    """The signal comes when a module of the command line is looked up: the first one, a command, gRPC."""
    code = (
        "import os, signal, sys\n"
        "class Interrupts:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == sys.argv[1]:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupts())\n"
        "from tokengrpc.cli import main\n"
        "main(['models'])"
    )
    done = subprocess.run([sys.executable, "-c", code, module], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_prompt_can_be_piped_in(server):
    """The pipe is read with `-` and without it."""
    for dash in ([], ["-"]):
        assert (
            server("count", "--raw", *dash, stdin=b"hello there").stdout == "2 tokens, counted for builtin\n"
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["get", "nope"], "NOT_FOUND GENERATION_NOT_FOUND: "),
        (["cancel", "nope"], "NOT_FOUND GENERATION_NOT_FOUND: "),
        (
            ["stream", "a", "--model", "nope"],
            "NOT_FOUND MODEL_NOT_FOUND: there is no model 'nope': use a name that `tokengrpc models` ",
        ),
        (["stream", "--resume", "nope"], "NOT_FOUND GENERATION_NOT_FOUND: "),
        (["stream", "a", "--temperature", "9"], "INVALID_ARGUMENT INVALID_REQUEST: --temperature: "),
        (["stream", "a", "--switches", "9"], "INVALID_ARGUMENT INVALID_REQUEST: --switches: "),
        (["stream", "a", "--stop", ""], "INVALID_ARGUMENT INVALID_REQUEST: --stop[0]: "),
        (["stream", "a", "--id", "a b"], "INVALID_ARGUMENT INVALID_REQUEST: ID: "),
    ],
)
def test_a_failed_call_is_one_line_and_exit_code_1(server, arguments, message):
    """The line has the code, the reason, what happened and what to do, in words of the commands."""
    done = server(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1


def test_count_shows_the_tokens_and_the_usage_source(server):
    """A conversation has more tokens than its text."""
    assert server("count", "--raw", "hello there").stdout == "2 tokens, counted for builtin\n"
    assert server("count", "--raw", "-", stdin=b"hello there").stdout == "2 tokens, counted for builtin\n"
    plain = json.loads(server("count", "hello there", "--json", "--raw").stdout)
    chat = json.loads(server("count", "hello there", "--json").stdout)
    system = json.loads(server("count", "hello there", "--json", "--system", "Be brief.").stdout)
    assert plain == {"input_token_count": 2, "source": "USAGE_SOURCE_COUNTED", "model": "builtin"}
    assert 2 < chat["input_token_count"] < system["input_token_count"]


def test_models_is_a_table_or_json(server):
    """Each model has one line, and one each for its engines and capabilities if stdout is no terminal."""
    header, row, engines, capabilities = server("models").stdout.splitlines()
    assert header.split() == ["model", "context", "tokenizer"]
    assert row.startswith("builtin (default)  ")
    assert engines.startswith("  engines: builtin (builtin, ")
    assert capabilities.startswith("  capabilities: prompt conversation ")
    assert json.loads(server("models", "--json").stdout)["name"] == "builtin"


def test_get_and_cancel_show_a_generation(server):
    """`cancel` of an ended generation only shows it."""
    server("stream", "a", "--id", "shown", "--max-tokens", "3")
    got = server("get", "shown")
    fields = dict(line.split(maxsplit=1) for line in got.stdout.splitlines() if "finish" not in line)
    assert fields["state"] == "SUCCEEDED"
    assert fields["output"] == "3 tokens"
    assert (fields["engine"], fields["counts"]) == ("builtin", "reported by the engine")
    assert "finish reason MAX_TOKENS" in got.stdout
    assert server("cancel", "shown").stdout == got.stdout
    message = json.loads(server("get", "shown", "--json").stdout)
    assert message["usage"]["output_token_count"] == 3


def test_get_shows_the_last_engine_and_the_overhead(tmp_path):
    """After an engine switch, `get` shows the engine that finished and the overhead tokens of the switch."""
    file = tmp_path / "tokengrpc.toml"
    file.write_text(
        '[[models]]\nname = "pair"\n'
        '[[models.engines]]\nname = "first"\nfaults = { cut_at_token = 3 }\n'
        '[[models.engines]]\nname = "second"\npriority = 1\n'
    )
    with serving("--config", str(file)) as server:
        server("stream", "a", "--max-tokens", "6", "--switches", "1", "--id", "switched")
        fields = dict(line.split(maxsplit=1) for line in server("get", "switched").stdout.splitlines())
        assert fields["engine"] == "second"
        assert int(fields["overhead"].split()[0]) > 3


def test_an_unused_engine_is_not_checked_yet():
    """The health of an engine is unknown until a request is sent to it."""
    flags = ("--base-url", "http://127.0.0.1:1/v1", "--model", "m")
    with serving(*flags) as server:
        assert "  engines: m (openai, not checked yet)\n" in server("models").stdout


@pytest.mark.parametrize("service", ["", "liveness", "readiness", "tokenstreaming.v1.TokenStream"])
def test_probe_of_a_serving_service_exits_with_0(server, service):
    """The probe works with every service name that the server knows."""
    done = server("probe", "--service", service)
    assert (done.returncode, done.stdout, done.stderr) == (0, "status: SERVING\n", "")


def test_probe_distinguishes_failures(server):
    """1 is wrong usage, 2 no connection or no answer, 3 a failed call, as with grpc-health-probe."""
    assert tokengrpc("probe", "--nonsense").returncode == 1
    assert tokengrpc("probe", "--timeout", "x").returncode == 1
    assert tokengrpc("probe", "--target", CLOSED).returncode == 2
    unknown = server("probe", "--service", "nope")
    assert unknown.returncode == 3
    assert unknown.stderr == "error: NOT_FOUND: the server does not know the service `nope`\n"


def test_probe_of_an_unresponsive_server_exits_with_2():
    """The probe waits for its timeout and no longer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done = tokengrpc("probe", "--timeout", "0.2", "--target", f"127.0.0.1:{silent.getsockname()[1]}")
    assert done.returncode == 2
    assert done.stderr.startswith("error: DEADLINE_EXCEEDED: no answer from 127.0.0.1:")


def test_tokens_come_from_a_variable(tmp_path):
    """The token is read from TOKENGRPC_TOKEN or the variable that --token-env names, and is never shown."""
    file = tmp_path / "tokengrpc.toml"
    file.write_text('[[tenants]]\nname = "team"\nkey_env = "TEAM_KEY"\n')
    with serving("--config", str(file), TEAM_KEY="s3cret") as server:
        assert server("models", TOKENGRPC_TOKEN="s3cret").returncode == 0
        assert server("models", "--token-env", "MINE", MINE="s3cret").returncode == 0
        for variables in ({}, {"TOKENGRPC_TOKEN": "wr0ng"}):
            done = server("models", **variables)
            assert done.returncode == 1
            assert done.stderr.startswith("error: UNAUTHENTICATED: ")
            hint = "; set TOKENGRPC_TOKEN to your key, or name another variable with --token-env\n"
            assert done.stderr.endswith(hint)
            assert done.stderr.count("; ") + done.stderr.count(": ") == 3
            assert "wr0ng" not in done.stderr
