"""`tokengrpc usage` against real servers: in a pipe, on a terminal, and over a restart."""

from __future__ import annotations

import csv
import json
import re
import socket
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import Server, serving, tokengrpc
from tests.support.terminals import shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TODAY = r"\d{4}-\d\d-\d\d"


def generate(server: Server, *ids: str, tokens: int = 4) -> None:
    for generation_id in ids:
        done = server("stream", "hello", "--id", generation_id, "--max-tokens", str(tokens))
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with three generations in a database."""
    with serving("--data-dir", str(tmp_path_factory.mktemp("data"))) as started:
        generate(started, "one", "two")
        generate(started, "three", tokens=8)
        yield started


def test_sums_are_the_default(server: Server) -> None:
    """A table in a pipe has no bars and no control characters, and `usage` is `usage summary`."""
    done = server("usage")
    header, day = done.stdout.splitlines()
    assert header.split() == ["day", "(UTC)", "generations", "input", "output"]
    assert re.fullmatch(rf"{TODAY} +3 +\d+ +16", day)
    assert server("usage", "summary").stdout == done.stdout
    assert server("usage", "--by", "model", "--by", "month").stdout.splitlines()[1].startswith("builtin  20")


@pytest.mark.parametrize("columns", [60, 80])
def test_a_terminal_shows_bars(server: Server, columns: int) -> None:
    """The largest value has the longest bar, and no line is longer than the terminal."""
    lines = shown("usage", "--by", "model", columns=columns, TOKENGRPC_TARGET=server.target)
    assert lines[1].endswith("█████")
    assert all(len(line) <= columns for line in lines)


def test_tables_fit_80_columns(server: Server) -> None:
    """In a pipe as well. Numbers are whole; long texts are cut visibly."""
    generate(server, "x" * 100, tokens=1)
    lines = server("usage", "list").stdout.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert "x…  builtin  MAX_TOKENS" in lines[1]
    assert server("usage", "entries").stdout.count("x" * 100) == 2
    terminal = shown("usage", "entries", columns=70, TOKENGRPC_TARGET=server.target)
    assert any(line.endswith("x…") and len(line) == 70 for line in terminal)


def test_records_for_programs(server: Server) -> None:
    """A record a line as JSON, and all its fields as comma-separated values."""
    rows = list(csv.DictReader(server("usage", "list", "--generation", "three", "--csv").stdout.splitlines()))
    assert [(row["model"], row["output_token_count"], row["finish_reason"]) for row in rows] == [
        ("builtin", "8", "MAX_TOKENS")
    ]
    assert json.loads(rows[0]["labels"]) == {}
    printed = server("usage", "list", "--json", "--limit", "2", "--until", "2100-01-01").stdout.splitlines()
    assert len({json.loads(line)["record_id"] for line in printed}) == 2
    sums = server("usage", "--by", "model", "--csv").stdout.splitlines()
    assert [row["source"] for row in csv.DictReader(sums)] == ["ENGINE"]


def test_filters_that_select_nothing(server: Server) -> None:
    """Say so on stderr; a program gets an empty output."""
    for arguments in (("--model", "nope"), ("--label", "team=x"), ("--until", "2001-01-01T12:00")):
        done = server("usage", "list", *arguments)
        assert (done.returncode, done.stdout) == (0, "")
        assert "there are no such generations" in done.stderr
        assert server("usage", "list", *arguments, "--json").stdout == ""


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (("--by", "week"), "--by"),
        (("--by", "day", "--by", "hour"), "--by"),
        (("--since", "yesterday"), "--since"),
        (("--label", "team"), "--label"),
        (("--zone", "Mars/Olympus"), "--zone"),
        (("--csv", "--json"), "--csv"),
        (("entries", "--after", "-1"), "--after"),
        (("list", "--limit", "0"), "--limit"),
    ],
)
def test_wrong_options_are_named(arguments: tuple[str, ...], flag: str) -> None:
    """Before any connection, in one line."""
    done = tokengrpc("usage", *arguments, TOKENGRPC_TARGET="127.0.0.1:1")
    assert done.returncode == 2
    assert re.match(f"error: Invalid value for '?{flag}'?: ", done.stderr)
    assert done.stderr.count("\n") == 1


def test_a_newly_built_ledger_and_keys(tmp_path: Path) -> None:
    """A tenant sees itself; another one's name needs an admin."""
    settings = tmp_path / "tokengrpc.toml"
    settings.write_text('tenants = [{name = "a", key_env = "KEY_A"}, {name = "b", key_env = "KEY_B"}]\n')
    with serving("--config", str(settings), KEY_A="aaa", KEY_B="bbb") as server:
        assert server("stream", "hi", "--max-tokens", "2", TOKENGRPC_TOKEN="aaa").returncode == 0
        assert "there is no usage" in server("usage", TOKENGRPC_TOKEN="bbb").stderr
        assert (
            server("usage", "--by", "tenant", TOKENGRPC_TOKEN="aaa").stdout.splitlines()[1].startswith("a ")
        )
        refused = server("usage", "--tenant", "a", TOKENGRPC_TOKEN="bbb")
        assert refused.stderr.startswith("error: PERMISSION_DENIED ADMIN_REQUIRED: ")
        assert server("usage").stderr.startswith("error: UNAUTHENTICATED: ")


def test_a_machine_without_time_zones() -> None:
    """Both sides know UTC all the same."""
    nowhere = {"PYTHONTZPATH": "/nonexistent"}
    with serving(**nowhere) as server:
        generate(server, "g")
        for arguments in ((), ("--by", "month"), ("list",), ("entries",)):
            done = server("usage", *arguments, **nowhere)
            assert (done.returncode, done.stderr) == (0, "")
        unknown = server("usage", "--zone", "Europe/Berlin")
    assert "INVALID_ARGUMENT INVALID_REQUEST: " in unknown.stderr
    assert "time_zone" in unknown.stderr


def test_costs(tmp_path: Path) -> None:
    """Are exact, and in every table where a generation has one."""
    settings = tmp_path / "tokengrpc.toml"
    settings.write_text('[[prices]]\nmodel = "builtin"\ninput = "0"\noutput = "1.5"\ncurrency = "EUR"\n')
    with serving("--config", str(settings)) as server:
        generate(server, "g", tokens=8)
        assert server("usage").stdout.splitlines()[1].endswith("  0.000012 EUR")
        assert server("usage", "list").stdout.splitlines()[1].endswith("  0.000012 EUR")
        (row,) = csv.DictReader(server("usage", "list", "--csv").stdout.splitlines())
        assert row["cost"] == "0.000012 EUR"
        assert "cost          0.000012 EUR" in server("get", "g").stdout


def test_new_entries_are_followed() -> None:
    """Without --after, those that were there before are not printed. Another command can continue."""
    with serving() as server:
        generate(server, "before")
        with server.running("usage", "entries", "--follow", "--json") as follower:
            assert b"new entries after 2 are printed" in follower.stderr.readline()
            generate(server, "new")
            seen = [json.loads(follower.stdout.readline()) for _ in range(2)]
            assert [int(entry["sequence"]) for entry in seen] == [3, 4]
            follower.send_signal(2)
            assert follower.wait(30) == 130
            assert b"continue with --after 4" in follower.stderr.read()


def test_entries_are_followed_over_a_restart(tmp_path: Path) -> None:
    """Each entry once, in order, although the server stops in between; --after continues later."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    options = ("--listen", address, "--data-dir", str(tmp_path))
    with serving(*options) as first:
        generate(first, "one")
        following = ("usage", "entries", "--follow", "--after", "0", "--json", "--patience", "60")
        with first.running(*following) as follower:
            seen = [json.loads(follower.stdout.readline()) for _ in range(2)]
            assert first.stop() == 0
            with serving(*options) as second:
                generate(second, "two")
                seen += [json.loads(follower.stdout.readline()) for _ in range(2)]
                follower.send_signal(2)
                assert follower.wait(30) == 130
                assert b"continue with --after 4" in follower.stderr.read()
                assert [int(entry["sequence"]) for entry in seen] == [1, 2, 3, 4]
                ids = [entry["usage_record"]["generation_id"] for entry in seen]
                assert ids == ["one", "one", "two", "two"]
                generate(second, "three")
                later = second("usage", "entries", "--after", "4").stdout.splitlines()
                assert [line.split()[:1] for line in later] == [["5"], ["6"]]
