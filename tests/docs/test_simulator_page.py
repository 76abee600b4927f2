"""docs/simulator.md: its tables match the code, and each of its examples does what the page says."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import grpc
import pytest
from tokenstreaming.v1 import input_pb2, token_stream_pb2_grpc
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.commands import Server, environment, running, serving, shell
from tests.support.paths import ROOT
from tests.support.simulator_table import condition_rows, fault_rows, status_rows

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (ROOT / "docs" / "simulator.md").read_text(encoding="utf-8")
SHOWN_TARGET = "127.0.0.1:50051"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines()]


def flags(command: str) -> list[str]:
    program, serve, *words = shlex.split(command, comments=True)
    assert (program, serve) == ("tokengrpc", "serve")
    return words


def codes(server: Server, calls: int, tokens: int = 25, **fields: object) -> list[str]:
    """Runs `calls` generations one after another and returns their status codes."""
    limits = input_pb2.Limits()
    limits.first_token_timeout.FromMilliseconds(10_000)
    limits.inter_token_timeout.FromMilliseconds(500)
    ended = []
    with grpc.insecure_channel(server.target, options=(("grpc.enable_retries", 0),)) as channel:
        stub = token_stream_pb2_grpc.TokenStreamStub(channel)
        for _ in range(calls):
            request = pb.StreamTokensRequest(
                prompt="Hello", max_output_token_count=tokens, limits=limits, **fields
            )
            request.sampling.logit_bias[199_999] = -100  # no end mark: the output is as long as it may be
            stream = stub.StreamTokens(request)
            try:
                text = "".join(token.text for message in stream for token in message.tokens)
                assert "\ufffd" not in text
            except grpc.RpcError:
                pass
            ended.append(stream.code().name)
    return ended


# The status codes of successive calls, by the command's first fault.
ENDS = {
    "cut_at_token": ["UNAVAILABLE"] * 3,
    "first_token_delay": ["OK"],
    "stall_at_token": ["UNAVAILABLE"],
    "status": ["UNAVAILABLE"] * 3 + ["OK"],
    "trickle": ["OK"],
    "allow-request-faults": ["OK"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_first_commands(command: str) -> None:
    """Each command starts a server whose generations end as its comment says."""
    if "probability" in command:
        first, again = [_seeded(command) for _ in range(2)]
        assert first == again
        assert 0 < first.count("UNAVAILABLE") < len(first) / 2
        return
    (fault,) = [key for key in ENDS if re.search(rf"(\"|--){key}\b", command)]
    expected = ENDS[fault]
    with serving(*flags(command)) as server:
        assert codes(server, len(expected)) == expected


def _seeded(command: str) -> list[str]:
    with serving(*flags(command)) as server:
        return codes(server, 40, tokens=60)


def test_the_output_of_the_first_command() -> None:
    """The client's output matches the page."""
    shown = next(block for block in blocks("console") if "tokengrpc stream" in block)
    command, _, output = shown.partition("\n")
    with serving(*flags(COMMANDS[0])) as server:
        words = command.removeprefix("$ tokengrpc ")
        done = shell(f"{words} 2>&1", TOKENGRPC_TARGET=server.target)
    assert re.fullmatch(pattern_of(output), unbroken(done.stdout)), done.stdout


def unbroken(output: str) -> str:
    """Returns an output without its line breaks: the figures decide where the summary has one."""
    return re.sub(r",?\s+", " ", output).strip()


def pattern_of(output: str) -> str:
    return re.escape(unbroken(output)).replace("…", r"[\w.-]+")


def test_the_settings_file(tmp_path: Path) -> None:
    """The models of the file behave as their names say."""
    file = tmp_path / "tokengrpc.toml"
    file.write_text(blocks("toml")[0], encoding="utf-8")
    with serving("--config", str(file)) as server:
        assert codes(server, 3, model="steady") == ["OK"] * 3
        shaky = codes(server, 20, model="shaky")
        assert 0 < shaky.count("ABORTED") < 20
        plan = {"faults": {"end_at_token": 3}}
        assert codes(server, 1, model="on-demand", engine_params=plan) == ["UNAVAILABLE"]
        assert codes(server, 1, model="steady", engine_params=plan) == ["INVALID_ARGUMENT"]
        switch = input_pb2.Recovery(max_engine_switch_count=1)
        assert codes(server, 1, model="pair") == ["UNAVAILABLE"]
        assert codes(server, 1, model="pair", recovery=switch) == ["OK"]


def test_the_output_of_the_pair(tmp_path: Path) -> None:
    """The client's output matches the page, which shows stdout and stderr together."""
    file = tmp_path / "tokengrpc.toml"
    file.write_text(blocks("toml")[0], encoding="utf-8")
    shown = next(block for block in blocks("console") if "--switches" in block)
    command, _, output = shown.partition("\n")
    with serving("--config", str(file)) as server:
        words = command.removeprefix("$ tokengrpc ")
        done = shell(words, TOKENGRPC_TARGET=server.target)
    *text, told, rest, summary, end = output.strip().split("\n")
    assert done.stdout == "".join([*text, rest]) + "\n"
    assert re.fullmatch(pattern_of(f"{told}\n{summary}\n{end}"), unbroken(done.stderr)), done.stderr


def test_the_python_example() -> None:
    """The program prints what the page shows."""
    (program,), (output,) = blocks("python"), blocks("text")
    with serving("--allow-request-faults", "true") as server:
        done = subprocess.run(
            [sys.executable, "-c", program.replace(SHOWN_TARGET, server.target)],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.stdout, done.stderr) == (output, "")


def test_a_warning_at_start() -> None:
    """The warning names the engine, so that planned faults cannot go unnoticed in production."""
    flags_ = ("serve", "--listen", "127.0.0.1:0", "--faults", '{"refuse": true}')
    with running(*flags_) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        lines = map(json.loads, process.stderr)
        line = next(line for line in lines if "faults are injected" in line["event"])
    assert (line["level"], line["model"], line["engine"]) == ("warning", "builtin", "builtin")


def test_the_environment_variable() -> None:
    """The variable accepts what the flag accepts."""
    with serving(TOKENGRPC_FAULTS='{"refuse": true}') as server:
        assert codes(server, 1) == ["UNAVAILABLE"]


@pytest.mark.parametrize("row", [*fault_rows(), *condition_rows(), *status_rows()])
def test_the_tables_match_the_code(row: str) -> None:
    """The page has each row as generated from the schema and the table of outcomes."""
    assert row in PAGE.splitlines()


def test_the_tables_have_no_other_rows() -> None:
    """The page has no other rows of faults."""
    rows = {line for line in PAGE.splitlines() if re.match(r"\| [`\d]", line)} - {
        "| `status` | The failure |"
    }
    assert rows == {*fault_rows(), *condition_rows(), *status_rows()}
