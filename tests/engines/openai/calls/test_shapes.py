"""Tool calls whose name and arguments are not in the usual fields."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.openai_payloads import STOP, calls, chat, choices, finished, piece


@pytest.mark.parametrize(
    "call",
    [
        {"id": "c", "type": "function", "name": "f", "arguments": '{"a": 1}'},
        {"id": "c", "name": "f", "arguments": {"a": 1}},
        {"id": "c", "name": "f", "input": {"a": 1}},
        {"id": "c", "name": "f", "parameters": {"a": 1}},
        {"id": "c", "function": {"name": "f", "parameters": {"a": 1}}},
        {"id": "c", "function": {"name": "f", "input": {"a": 1}}},
        {"id": "c", "type": "custom", "custom": {"name": "f", "input": '{"a": 1}'}},
    ],
    ids=str,
)
def test_whole_calls(call: dict[str, Any]) -> None:
    """They are calls, in a delta, in a message, alone or in a list, and one after another."""
    expected = [("c", "f", '{"a": 1}')]
    assert calls(finished(chat({"tool_calls": [call]}), STOP)) == expected
    assert calls(finished(chat({"tool_calls": call}), STOP)) == expected
    assert calls(finished(choices({"message": {"tool_calls": [call]}}), STOP)) == expected
    both = finished(chat({"tool_calls": [call]}), chat({"tool_calls": [call | {"id": "d"}]}), STOP)
    assert [id_ for id_, _, _ in calls(both)] == ["c", "d"]


def test_pieces_beside_the_id() -> None:
    """A streamed call whose name and arguments are beside the id."""
    first = {"index": 0, "id": "c", "name": "f", "arguments": ""}
    rest = [{"index": 0, "arguments": part} for part in ('{"a"', ": 1}")]
    deltas = finished(*[chat({"tool_calls": [part]}) for part in (first, *rest)], STOP)
    assert calls(deltas) == [("c", "f", '{"a": 1}')]


def test_free_text_of_a_custom_tool() -> None:
    """The input of a custom tool need not be JSON, and may come in pieces."""
    pieces = [{"custom": {"name": "f", "input": "print"}}, {"custom": {"input": "(1)"}}]
    deltas = finished(*[chat({"tool_calls": [{"index": 0, "id": "c", **part}]}) for part in pieces], STOP)
    assert calls(deltas) == [("c", "f", "print(1)")]


def test_usual_arguments_come_first() -> None:
    """Arguments under their usual name are not replaced by those under another one."""
    function = {"name": "f", "arguments": '{"a": 1}', "parameters": {"b": 2}}
    assert calls(finished(chat({"tool_calls": [piece(id_="c") | {"function": function}]}), STOP)) == [
        ("c", "f", '{"a": 1}')
    ]
