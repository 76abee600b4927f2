"""Tool calls in pieces: where a call ends, names in pieces, and arguments that come twice."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.openai_payloads import STOP, calls, chat, finished, piece
from tokengrpc.core.request import OutputOptions
from tokengrpc.engines.openai.chunks.decoder import ChunkDecoder


def called(*pieces: dict[str, Any], tools: tuple[str, ...] = ()) -> list[tuple[str, str, str]]:
    """Returns the calls, the same whether the pieces come in a chunk each or all in one."""
    apart = calls(finished(*[chat({"tool_calls": [one]}) for one in pieces], STOP, tools=tools))
    together = calls(finished(chat({"tool_calls": list(pieces)}), STOP, tools=tools))
    assert apart == together
    return apart


class TestSeparateCalls:
    """Where one call ends and the next begins."""

    @pytest.mark.parametrize("index", [0, None])
    @pytest.mark.parametrize("id_", ["", None])
    def test_without_ids(self, index: int | None, id_: str | None):
        """Another name, or complete arguments before the name, begin a call."""
        f, g = '{"a": 1}', '{"b": "}"}'
        assert called(piece("f", f, id_, index), piece("g", g, id_, index)) == [("", "f", f), ("", "g", g)]
        assert called(piece("f", f, id_, index), piece("f", g, id_, index)) == [("", "f", f), ("", "f", g)]
        assert called(piece("f", f, id_, index), piece("f", f, id_, index)) == [("", "f", f), ("", "f", f)]
        assert called(piece("f", "{}", id_, index), piece("f", "{}", id_, index)) == [("", "f", "{}")] * 2
        assert called(
            piece("f", '{"a"', id_, index),
            piece(None, ": 1}", id_, index),
            piece("f", '{"b": ', id_, index),
            piece(None, '"}"}', id_, index),
        ) == [("", "f", f), ("", "f", g)]
        assert called(piece("f", f, id_, index), piece("f", "", id_, index), piece(None, g, id_, index)) == [
            ("", "f", f),
            ("", "f", g),
        ]

    def test_the_same_id_for_all(self):
        """Calls with one id are told apart by index, name and complete arguments."""
        assert called(piece("f", "{}", "x", 0), piece("g", '{"b":1}', "x", 1)) == [
            ("x", "f", "{}"),
            ("x", "g", '{"b":1}'),
        ]
        assert called(piece("f", '{"a":1}', "x"), piece("g", '{"b":1}', "x")) == [
            ("x", "f", '{"a":1}'),
            ("x", "g", '{"b":1}'),
        ]

    def test_an_id_for_each_piece(self):
        """Some servers make an id for each piece. Only the first one counts."""
        for name in (None, "f"):
            assert called(
                piece("f", '{"a"', "1", 0), piece(name, ":1", "2", 0), piece(name, "}", "3", 0)
            ) == [("1", "f", '{"a":1}')]
        assert called(piece("f", '{"a"', "1"), piece(None, ":1}", "2")) == [("1", "f", '{"a":1}')]

    def test_a_number_for_each_piece(self):
        """Some servers number the pieces instead of the calls. Then the id counts."""
        assert called(piece("f", '{"a"', "1", 0), piece(None, ":1", "1", 1), piece(None, "}", "1", 2)) == [
            ("1", "f", '{"a":1}')
        ]

    def test_interleaved_calls(self):
        """Pieces go to the call of their index, or of their id if all have the same index."""
        expected = [("x", "f", '{"a":1}'), ("y", "f", '{"b":2}')]
        first, second = piece("f", '{"a":', "x", 0), piece("f", '{"b":', "y", 1)
        assert called(first, second, piece(None, "1}", None, 0), piece(None, "2}", None, 1)) == expected
        second = piece("f", "", "y", 0)
        rest = (piece(None, '{"b":', "y", 0), piece(None, "1}", "x", 0), piece(None, "2}", "y", 0))
        assert called(piece("f", '{"a":', "x", 0), piece("g", "", "y", 0), *rest) == [
            ("x", "f", '{"a":1}'),
            ("y", "g", '{"b":2}'),
        ]

    @pytest.mark.parametrize(
        ("one", "id_"),
        [(piece("f", "{}", 17), "17"), (piece("f", "{}", True), "True"), (piece("f", "{}", [1]), "")],
    )
    def test_odd_ids(self, one: dict[str, Any], id_: str):
        """An id that is no text does not lose the call."""
        assert called(one) == [(id_, "f", "{}")]


class TestNames:
    """Names in pieces, and repeated names."""

    TOOLS = ("edit", "edit_existing_file", "go", "gogo", "look")

    @pytest.mark.parametrize("tools", [(), TOOLS])
    @pytest.mark.parametrize("id_", ["c", ""])
    def test_name_in_pieces(self, tools: tuple[str, ...], id_: str):
        """Pieces of a name are joined, also if each repeats the id."""
        expected = [(id_, "edit_existing_file", '{"a":1}')]
        names = (piece("edit_ex", None, id_, 0), piece("isting", "", None, 0), piece("_file", None, id_, 0))
        assert called(*names, piece(None, '{"a":1}', None, 0), tools=tools) == expected
        growing = (piece("edit_ex", None, id_, 0), piece("edit_existing_file", '{"a":1}', id_, 0))
        assert called(*growing, tools=tools) == expected

    @pytest.mark.parametrize("tools", [(), TOOLS])
    @pytest.mark.parametrize("id_", ["c", ""])
    def test_repeated_name(self, tools: tuple[str, ...], id_: str):
        """A name that is repeated on each piece stays one name, and its call stays one call."""
        pieces = [piece("look", part, id_, 0) for part in ("", '{"a"', ":", "1}", "")]
        assert called(*pieces, tools=tools) == [(id_, "look", '{"a":1}')]

    def test_names_of_the_tools_decide(self):
        """A piece continues a name if a tool's name begins so."""
        two = piece("go", None, None, 0), piece("go", None, None, 0)
        assert called(*two, piece(None, "{}", None, 0), tools=("gogo",)) == [("", "gogo", "{}")]
        assert called(*two, piece(None, "{}", None, 0), tools=("go", "gogo")) == [("", "go", "{}")]
        assert called(piece("edit", "", "", 0), piece("look", "{}", "", 0), tools=self.TOOLS) == [
            ("", "edit", ""),
            ("", "look", "{}"),
        ]

    def test_a_complete_name_is_not_withheld(self):
        """A tool's name is emitted at once, unless another tool's name begins with it."""
        decoder = ChunkDecoder("test", OutputOptions(), tools=self.TOOLS)
        (delta,) = decoder.feed([chat({"tool_calls": [piece("look", "", "c", 0)]})])
        assert [part.function_name for part in delta.fragments] == ["look"]
        decoder = ChunkDecoder("test", OutputOptions(), tools=self.TOOLS)
        assert decoder.feed([chat({"tool_calls": [piece("edit", "", "c", 0)]})]) == []


class TestRepeatedArguments:
    """Arguments that some proxies send twice."""

    def test_whole_arguments_then_pieces(self):
        """Pieces that repeat the complete arguments are dropped. Others are not."""
        again = [piece(None, part, None, 0) for part in ('{"a"', ": 1}")]
        assert called(piece("f", '{"a": 1}', "c", 0), *again) == [("c", "f", '{"a": 1}')]
        assert called(piece("f", '{"a": 1}', "c", 0), piece("f", '{"a": 1}', "c", 0)) == [
            ("c", "f", '{"a": 1}')
        ]
        assert called(piece("f", '{"a": 1}', "c", 0), piece(None, '{"b": 2}', None, 0)) == [
            ("c", "f", '{"a": 1}{"b": 2}')
        ]

    def test_placeholder(self):
        """An empty object that other arguments follow is not part of them."""
        assert called(
            piece("f", "{}", "c", 0), piece(None, '{"a"', None, 0), piece(None, ":1}", None, 0)
        ) == [("c", "f", '{"a":1}')]
        assert called(piece("f", {}, "c", 0)) == [("c", "f", "{}")]

    def test_both_forms_of_a_call(self):
        """A chunk with `tool_calls` and the older `function_call` has one call."""
        function = {"name": "f", "arguments": "{}"}
        deltas = finished(
            chat({"tool_calls": [{"id": "c", "function": function}], "function_call": function}), STOP
        )
        assert calls(deltas) == [("c", "f", "{}")]
