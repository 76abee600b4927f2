"""`tokengrpc usage reconcile` against a real server, and the exports that it reads."""

from __future__ import annotations

import asyncio
import csv
import json
from typing import TYPE_CHECKING

import pytest
from tokenstreaming.v1 import generation_pb2, usage_pb2
from tokenstreaming.v1 import usage_service_pb2 as pb

from tests.support.commands import serving
from tests.support.scripted_engine import Chunk, Done, Drop, Finish, ScriptedEngine, Text, UsageChunk
from tests.support.wire_dialects import NamedIds
from tokengrpc.cli.usage.statements import (
    RESPONSE_ID,
    Difference,
    StatementError,
    Tokens,
    choose,
    differences,
    keyed_tokens,
    read,
)

if TYPE_CHECKING:
    from pathlib import Path

ONE = {"r1": Tokens(10, 5)}


@pytest.mark.parametrize(
    "text",
    [
        "request_id,input_tokens,output_tokens\nr1,10,5\n",
        "\ufeffrequest_id,model,prompt_tokens,completion_tokens\r\nr1,m,10,5\r\n",
        "request_id,input_tokens,cache_read_input_tokens,cache_creation_input_tokens,output_tokens\nr1,3,5,2,5\n",
        "request_id,input_tokens,output_tokens\nr1,4,5\nr1,6,\n",
        '{"request_id": "r1", "prompt_tokens": 10, "completion_tokens": 5}\n\n',
        '{"request_id": "r1", "usage": {"input_tokens": 10, "output_tokens": 5}}\n',
    ],
    ids=["csv", "openai, with BOM", "anthropic: cache beside the input", "two rows", "jsonl", "nested"],
)
def test_common_exports_are_read(text: str) -> None:
    assert read(text.splitlines(keepends=True), key="request_id") == ONE


def test_columns_may_be_named() -> None:
    """Then nothing is added to the input."""
    lines = ["id,in,out,cache_read_input_tokens\n", "r1,10,5,7\n"]
    assert read(lines, key="id", inputs="in", outputs="out") == ONE
    assert read([], key="id") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,input_tokens,output_tokens\nr1,10,5", "row 1 has no request_id: name the column"),
        ("request_id,output_tokens\nr1,5", "row 1 has none of input_tokens, prompt_tokens"),
        ("request_id,input_tokens,output_tokens\nr1,ten,5", "row 1: input_tokens is not a whole number"),
        ('{"request_id": "r1"', "row 1 is not a JSON object"),
    ],
)
def test_what_is_wrong_is_said_with_its_row(text: str, message: str) -> None:
    with pytest.raises(StatementError, match=message):
        read(text.splitlines(keepends=True), key="request_id")


def test_differences_have_both_sides() -> None:
    ledger = {"a": Tokens(1, 1), "b": Tokens(1, 1), "c": Tokens(1, 1)}
    statement = {"a": Tokens(1, 1), "b": Tokens(1, 2), "d": Tokens(1, 1)}
    assert differences(ledger, statement) == [
        Difference("b", Tokens(1, 1), Tokens(1, 2)),
        Difference("c", Tokens(1, 1), None),
        Difference("d", None, Tokens(1, 1)),
    ]


def test_the_ledger_is_compared_with_a_file(tmp_path: Path) -> None:
    """By generation id, or by a label. The exit code tells whether anything differs."""
    file = tmp_path / "export.jsonl"
    with serving("--data-dir", str(tmp_path)) as server:
        for number in range(2):
            assert server("stream", "hello", "--max-tokens", "10", "--id", f"g{number}").returncode == 0
        records = [json.loads(line) for line in server("usage", "list", "--json").stdout.splitlines()]
        rows = [
            {
                "request_id": record["generation_id"],
                "input_tokens": record["usage"]["input_token_count"],
                "output_tokens": 10,
            }
            for record in records
        ]
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        same = server("usage", "reconcile", str(file))
        assert (same.returncode, same.stdout) == (0, "0 of 2 requests differ\n")
        rows[0]["output_tokens"] = 11
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        other = server("usage", "reconcile", str(file))
        count = rows[0]["input_tokens"]
        assert other.returncode == 1
        assert other.stdout == (
            f"g1: ledger {count} input, 10 output; file {count} input, 11 output\n1 of 2 requests differ\n"
        )
        assert server("usage", "reconcile", str(file), "--by", "label:ticket").returncode == 1
        missing = server("usage", "reconcile", str(tmp_path / "none"))
        assert missing.returncode == 2
        assert missing.stderr.endswith("cannot be read: No such file or directory\n")


HEADER = "response_id,input_tokens,output_tokens\n"


@pytest.mark.parametrize(
    ("first", "by", "column", "chosen"),
    [
        (HEADER, "", "", (RESPONSE_ID, "response_id")),
        (f"\ufeff{HEADER}", "", "", (RESPONSE_ID, "response_id")),
        ('{"response_id": "r1"}\n', "", "", (RESPONSE_ID, "response_id")),
        ("request_id,input_tokens\n", "", "", ("generation", "request_id")),
        ('{"request_id": "r1"}\n', "", "", ("generation", "request_id")),
        ("", "", "", ("generation", "request_id")),
        ("{no JSON\n", "", "", ("generation", "request_id")),
        (HEADER, "generation", "", ("generation", "request_id")),
        (HEADER, "", "custom_id", ("generation", "custom_id")),
        ("id,input_tokens\n", RESPONSE_ID, "id", (RESPONSE_ID, "id")),
        ("id,input_tokens\n", RESPONSE_ID, "", (RESPONSE_ID, "response_id")),
    ],
)
def test_a_column_of_response_ids_is_the_default(
    first: str, by: str, column: str, chosen: tuple[str, str]
) -> None:
    """What the command line says precedes it."""
    assert choose(first, by, column) == chosen


def test_response_ids_are_compared_as_the_ledger_has_them() -> None:
    """Cut and escaped."""
    rows = [json.dumps({"response_id": id_, "input_tokens": 1}) + "\n" for id_ in ("x" * 999, "a\x1bb")]
    stated = read(
        [row.replace("}", ', "output_tokens": 2}') for row in rows], key="response_id", by=RESPONSE_ID
    )
    assert stated == {"x" * 128: Tokens(1, 2), "a\\x1bb": Tokens(1, 2)}


@pytest.mark.parametrize(
    ("outputs", "known"),
    [
        ([5], [(10, 5)]),
        ([0], [(10, 0)]),
        ([0, 5], [(None, None), (10, 5)]),
        ([3, 2], [(10, 3), (None, 2)]),
        ([3, 0], [(10, 3), (None, None)]),
        ([0, 0], [(None, None), (10, 0)]),
    ],
)
def test_each_attempt_is_compared_by_what_is_known_of_it(
    outputs: list[int], known: list[tuple[int | None, int | None]]
) -> None:
    """The input is that of the attempt whose prefill is billed. What a switch costs is not compared."""
    attempts = [
        generation_pb2.Attempt(response_id=f"r{number}", output_token_count=output)
        for number, output in enumerate(outputs)
    ]
    usage = usage_pb2.Usage(input_token_count=10, output_token_count=sum(outputs))
    record = pb.UsageRecord(usage=usage, attempts=[*attempts])
    expected = [(f"r{number}", Tokens(*tokens)) for number, tokens in enumerate(known)]
    assert list(keyed_tokens(record, RESPONSE_ID)) == expected


def test_an_unknown_count_equals_any_other() -> None:
    ledger = {"a": Tokens(None, 1), "b": Tokens(None, None), "c": Tokens(None, None), "d": Tokens(None, 1)}
    statement = {"a": Tokens(7, 1), "b": Tokens(7, 7), "d": Tokens(7, 2)}
    assert differences(ledger, statement) == [Difference("d", Tokens(None, 1), Tokens(7, 2))]


SETTINGS = """
data_dir = "{directory}"
[[models]]
name = "m"
[[models.engines]]
name = "a"
kind = "openai"
base_url = "{a}"
health_check_interval = 0
[[models.engines]]
name = "b"
kind = "openai"
base_url = "{b}"
priority = 1
health_check_interval = 0
[[prices]]
model = "m"
input = "1"
output = "1"
"""


async def test_the_ledger_is_compared_by_response_ids(tmp_path: Path) -> None:
    """A generation with two attempts has two rows. Every export has both ids."""
    file, settings = tmp_path / "export.csv", tmp_path / "settings.toml"
    async with ScriptedEngine() as a, ScriptedEngine(NamedIds("gen-b")) as b:
        settings.write_text(SETTINGS.format(directory=tmp_path, a=a.base_url, b=b.base_url))
        a.script(Chunk({"id": "gen-lost", "choices": [{"delta": {"role": "assistant"}}]}), Drop())
        b.script(Text("Well", " said"), Finish(), UsageChunk(), Done())
        with serving("--config", str(settings)) as server:

            async def run(*arguments: str) -> tuple[int, str]:
                done = await asyncio.to_thread(server, *arguments)
                return done.returncode, done.stdout

            assert await run("stream", "hello", "--id", "g") == (0, "Well said\n")
            file.write_text(HEADER + "gen-lost,7,0\ngen-b,7,2\n")
            assert await run("usage", "reconcile", str(file)) == (0, "0 of 2 requests differ\n")
            file.write_text(HEADER + "gen-b,7,3\ngen-other,1,1\n")
            code, shown = await run("usage", "reconcile", str(file), "--by", "response-id")
            assert (code, shown.splitlines()) == (
                1,
                [
                    "gen-b: ledger 7 input, 2 output; file 7 input, 3 output",
                    "gen-other: ledger nothing; file 1 input, 1 output",
                    "2 of 3 requests differ",
                ],
            )
            exports = {
                form: (await run("usage", "export", "--format", form))[1].splitlines()
                for form in ("jsonl", "csv", "cloudevents", "focus")
            }
            attempts = json.loads(exports["jsonl"][-1])["usage_record"]["attempts"]
            assert [attempt["response_id"] for attempt in attempts] == ["gen-lost", "gen-b"]
            assert json.loads(exports["cloudevents"][-1])["data"]["response_ids"] == ["gen-lost", "gen-b"]
            for form, column in (("csv", "response_ids"), ("focus", "x_ResponseIds")):
                *_, row = csv.DictReader(exports[form])
                assert row[column] == "gen-lost gen-b"
            assert "gen-lost gen-b" in (await run("usage", "list", "--csv"))[1]
