"""Decoding chunks of OpenAI-compatible servers into deltas: content, usage, tokens, tool calls."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.openai_payloads import DONE, EVERYTHING, STOP, chat, counts, finished, sums, text
from tests.support.profiles import examples
from tokengrpc.core.model import Delta, EngineFinish, FinishReason, ToolCallFragment, UsageReport
from tokengrpc.core.request import OutputOptions

if TYPE_CHECKING:
    from collections.abc import Sequence


class TestContent:
    """Text, reasoning and refusals."""

    def test_chat_text(self):
        """Each chunk with content becomes a delta. A chunk with only the role does not."""
        deltas = finished(
            chat({"role": "assistant", "content": ""}), text("Hello"), text(" world"), STOP, DONE
        )
        assert deltas == [
            Delta(text="Hello"),
            Delta(text=" world"),
            Delta(count=0, finish=EngineFinish(reason=FinishReason.END, word="stop")),
        ]

    def test_completion_text(self):
        """In the completions API, the text is in the choice."""
        payload = b'{"choices":[{"index":0,"text":"Hello","logprobs":null,"finish_reason":"length"}]}'
        deltas = finished(payload, DONE)
        assert deltas[0].text == "Hello"
        assert deltas[1].finish == EngineFinish(reason=FinishReason.MAX_TOKENS, word="length")

    def test_response_that_is_not_streamed(self):
        """A `message` is decoded like a `delta`."""
        choice = {"message": {"content": "Hello"}, "finish_reason": "stop"}
        payload = json.dumps({"choices": [choice], "usage": {"completion_tokens": 2}}).encode()
        assert finished(payload)[0] == Delta(text="Hello", count=2, usage=UsageReport(output=2))

    @pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
    def test_reasoning(self, field: str):
        """Both field names of reasoning are decoded."""
        assert finished(chat({field: "hm"}), STOP, DONE)[0] == Delta(reasoning="hm")

    def test_reasoning_under_both_names_counts_once(self):
        """If a server fills both fields, the reasoning is not duplicated."""
        assert finished(chat({"reasoning": "hm", "reasoning_content": "hm"}), STOP)[0].reasoning == "hm"

    def test_content_in_parts(self):
        """Mistral's `content` may be a list with text and thinking."""
        content = [
            {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
            {"type": "text", "text": "ok"},
        ]
        assert finished(chat({"content": content}), STOP)[0] == Delta(text="ok", reasoning="hm")

    def test_refusal(self):
        """A refusal is not part of the text, and the finish reason `stop` after it becomes REFUSAL."""
        deltas = finished(chat({"refusal": "No."}), STOP)
        assert deltas[0] == Delta(refusal="No.")
        assert deltas[-1].finish == EngineFinish(reason=FinishReason.REFUSAL, word="stop")

    def test_lone_surrogates(self):
        """JSON with a lone surrogate is decoded although msgspec rejects it."""
        deltas = finished(
            rb'{"choices":[{"delta":{"content":"\ud83d"}}]}',
            rb'{"choices":[{"delta":{"content":"\ude00"}}]}',
            STOP,
        )
        assert [delta.text for delta in deltas[:2]] == ["\ud83d", "\ude00"]

    @pytest.mark.parametrize(
        "payload",
        [
            b'{"choices":[]}',
            b'{"choices":null,"usage":null,"error":null}',
            b'{"choices":[{"index":0,"delta":null,"text":null,"logprobs":null,"finish_reason":null}],"usage":null}',
            b'{"choices":[{"delta":{"content":null,"reasoning":null,"tool_calls":null,"role":null}}]}',
            b'{"choices":[{"delta":[],"logprobs":[],"text":false}],"usage":[]}',
            b'{"choices":{}}',
            b'{"choices":[{"index":0,"delta":{"unknown":[1,{"a":null}]},"new":1}],"usage":{"prompt_tokens":null}}',
            b"",
        ],
    )
    def test_chunk_without_content(self, payload: bytes):
        """Empty, null and unknown fields produce neither a delta nor an error."""
        assert len(finished(payload, STOP, DONE)) == 1


class TestUsage:
    """Token counts, per chunk and in total."""

    def test_at_the_end(self):
        """A total after the finish goes into the last delta. It is not the count of any single chunk."""
        deltas = finished(text("a"), text("b"), STOP, sums(7, 3), DONE)
        assert [delta.count for delta in deltas] == [None, None, 0]
        assert deltas[-1].usage == UsageReport(input=7, output=3)

    def test_in_every_chunk(self):
        """With vLLM's continuous usage, a chunk's count is the increase of the total, with hidden tokens."""
        deltas = finished(
            chat({"role": "assistant", "content": ""}, usage=counts(7, 0)),
            text("a", usage=counts(7, 1)),
            text("bcd", usage=counts(7, 4)),
            text("e", usage=counts(7, 4)),
            chat({}, finish_reason="stop", usage=counts(7, 5)),
            sums(7, 5),
            DONE,
        )
        assert [delta.count for delta in deltas] == [0, 1, 3, 0, 1, 0]
        assert deltas[0].usage == UsageReport(input=7)
        assert deltas[2].usage == UsageReport(input=7, output=4)

    def test_zeros_until_the_end(self):
        """Ollama's completions send usage of zeros. These are neither a chunk's count nor a usage report."""
        deltas = finished(
            text("a", usage=counts(0, 0)), text("b", usage=counts(0, 0)), STOP, sums(7, 2), DONE
        )
        assert [(delta.count, delta.usage) for delta in deltas[:2]] == [(None, None)] * 2
        assert deltas[-1].usage == UsageReport(input=7, output=2)

    def test_with_the_finish(self):
        """A total in the chunk with the last text is not that chunk's count."""
        deltas = finished(text("a"), text("b", finish_reason="stop", usage=counts(7, 9)))
        assert [delta.count for delta in deltas] == [None, None, 0]

    def test_details(self):
        """Cached and reasoning tokens are reported, also from the fields of DeepSeek and OpenRouter."""
        usage = counts(
            9,
            5,
            prompt_tokens_details={"cached_tokens": 4, "cache_write_tokens": 2},
            completion_tokens_details={"reasoning_tokens": 3},
        )
        expected = UsageReport(input=9, output=5, cached_input=4, cache_write_input=2, reasoning=3)
        assert finished(chat({}, finish_reason="stop", usage=usage))[-1].usage == expected
        deepseek = counts(9, 5, prompt_cache_hit_tokens=4, prompt_tokens_details=None)
        assert finished(chat({}, finish_reason="stop", usage=deepseek))[-1].usage == UsageReport(
            input=9, output=5, cached_input=4
        )

    def test_counts_as_floats_and_strings(self):
        """Both 5.0 and "5" are decoded as 5."""
        usage = {"prompt_tokens": 5.0, "completion_tokens": "5"}
        assert finished(chat({}, finish_reason="stop", usage=usage))[-1].usage == UsageReport(
            input=5, output=5
        )


class TestTokens:
    """Chunks that hold several tokens."""

    def test_token_ids(self):
        """A chunk with several ids becomes as many deltas. The text goes into the last one."""
        deltas = finished(
            text("a", token_ids=[1]),
            text("bcd", token_ids=[2, 3, 4]),
            STOP,
            output=OutputOptions(token_ids=True),
        )
        assert [(d.id, d.text, d.count) for d in deltas[:-1]] == [
            (1, "a", 1),
            (2, "", 1),
            (3, "", 1),
            (4, "bcd", 1),
        ]

    def test_details_that_were_not_requested(self):
        """Ids, logprobs and bytes are omitted unless requested, but ids still give the token count."""
        entry = {"token": "ab", "logprob": -1, "bytes": [97, 98], "top_logprobs": []}
        deltas = finished(text("ab", token_ids=[1, 2], logprobs={"content": [entry]}), STOP)
        assert deltas[0] == Delta(text="ab", count=2)

    def test_chat_logprobs(self):
        """Each entry becomes one delta. The joined texts equal the chunk's text."""
        entries = [
            {
                "token": "a",
                "logprob": -0.5,
                "bytes": [97],
                "top_logprobs": [{"token": "a", "logprob": -0.5, "bytes": [97]}],
            },
            {
                "token": "b",
                "logprob": -1.5,
                "bytes": None,
                "id": 9,
                "top_logprobs": [{"token": "x", "logprob": None}],
            },
        ]
        first, second, _ = finished(text("ab", logprobs={"content": entries}), STOP, output=EVERYTHING)
        assert (first.text, first.logprob, first.raw, first.count) == ("a", -0.5, b"a", 1)
        assert [(top.text, top.raw) for top in first.top_logprobs] == [("a", b"a")]
        assert (second.text, second.logprob, second.raw, second.id) == ("b", -1.5, None, 9)
        assert second.top_logprobs == ()

    def test_completion_logprobs(self):
        """The parallel lists are decoded. Alternatives are sorted by logprob, up to the requested number."""
        logprobs = {
            "tokens": ["a", "b"],
            "token_logprobs": [None, -0.7],
            "top_logprobs": [None, {"c": -2, "b": -0.7, "d": -3}],
        }
        payload = json.dumps(
            {"choices": [{"text": "ab", "logprobs": logprobs, "finish_reason": "stop"}]}
        ).encode()
        first, second, _ = finished(payload, output=OutputOptions(top_logprob_count=2))
        assert (first.text, first.logprob, first.top_logprobs) == ("a", None, ())
        assert [(top.text, top.logprob) for top in second.top_logprobs] == [("b", -0.7), ("c", -2)]

    def test_character_over_several_tokens(self):
        """The bytes show which token completes a character. vLLM's replacement characters are discarded."""
        parts = "🦜".encode()
        entries = [
            {"token": "", "logprob": -1, "bytes": list(parts[:2])},
            {"token": "", "logprob": -1, "bytes": list(parts[2:])},
        ]
        deltas = finished(text("🦜", logprobs={"content": entries}), STOP, output=EVERYTHING)
        assert [(d.text, d.raw) for d in deltas[:-1]] == [("", parts[:2]), ("🦜", parts[2:])]
        replaced = {"token": "\ufffd", "logprob": -1, "bytes": list("\ufffd".encode())}
        assert finished(text("", logprobs={"content": [replaced]}), STOP, output=EVERYTHING)[0].raw is None

    @examples(2000)
    @given(
        st.text(max_size=6),
        st.lists(
            st.tuples(st.text(max_size=3), st.none() | st.lists(st.integers(0, 300), max_size=4)), max_size=5
        ),
        st.sampled_from(["content", "reasoning", "refusal"]),
    )
    def test_no_text_is_lost_or_duplicated(
        self, shown: str, tokens: list[tuple[str, list[int] | None]], field: str
    ):
        """For any entries, there is one delta per entry and the joined texts equal the chunk's text."""
        entries = [{"token": token, "logprob": -1.0, "bytes": data} for token, data in tokens]
        deltas = finished(chat({field: shown}, logprobs={"content": entries}), STOP, output=EVERYTHING)[:-1]
        assert "".join((d.text or "") + d.reasoning + d.refusal for d in deltas) == shown
        assert len(deltas) == (len(entries) or bool(shown))


class TestToolCalls:
    """Assembly of tool calls from pieces."""

    @staticmethod
    def fragments(*chunks: list[dict[str, Any]], tools: Sequence[str] = ("f", "g")) -> list[ToolCallFragment]:
        payloads = [chat({"tool_calls": pieces}) for pieces in chunks]
        deltas = finished(*payloads, chat({}, finish_reason="tool_calls"), tools=tools)
        assert deltas[-1].finish is not None
        assert deltas[-1].finish.reason is FinishReason.TOOL_CALLS
        return [fragment for delta in deltas for fragment in delta.fragments]

    def test_openai(self):
        """Id and name come first, then pieces of the arguments. A second call follows the first."""
        assert self.fragments(
            [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}],
            [{"index": 0, "function": {"arguments": '{"a"'}}],
            [{"index": 0, "function": {"arguments": ":1}"}}],
            [{"index": 1, "id": "c2", "function": {"name": "g", "arguments": "{}"}}],
        ) == [
            ToolCallFragment(call_index=0, id="c1", function_name="f"),
            ToolCallFragment(call_index=0, arguments='{"a"'),
            ToolCallFragment(call_index=0, arguments=":1}"),
            ToolCallFragment(call_index=1, id="c2", function_name="g", arguments="{}"),
        ]

    def test_repeated_names(self):
        """If id and name are on every piece, they are emitted once. A piece that adds nothing is dropped."""
        assert self.fragments(
            [{"index": 0, "id": "c1", "function": {"name": "f", "arguments": "{"}}],
            [{"index": 0, "id": "c1", "function": {"name": "f", "arguments": ""}}],
            [{"index": 0, "id": "c1", "function": {"name": "f", "arguments": "}"}}],
        ) == [
            ToolCallFragment(call_index=0, id="c1", function_name="f", arguments="{"),
            ToolCallFragment(call_index=0, arguments="}"),
        ]

    def test_missing_index(self):
        """Without an index, calls are distinguished by id, and without an id by name."""
        assert self.fragments(
            [
                {"id": "c1", "function": {"name": "f", "arguments": "{}"}},
                {"id": "c2", "function": {"name": "f"}},
            ],
            [{"id": "c2", "function": {"arguments": "{}"}}],
            [{"function": {"name": "g", "arguments": "["}}, {"function": {"arguments": "]"}}],
        ) == [
            ToolCallFragment(call_index=0, id="c1", function_name="f", arguments="{}"),
            ToolCallFragment(call_index=1, id="c2", function_name="f"),
            ToolCallFragment(call_index=1, arguments="{}"),
            ToolCallFragment(call_index=2, function_name="g", arguments="["),
            ToolCallFragment(call_index=2, arguments="]"),
        ]

    def test_same_index_for_all_calls(self):
        """Calls that all have the index 0 are distinguished by their ids."""
        assert [
            fragment.call_index
            for fragment in self.fragments(
                [{"index": 0, "id": "c1", "function": {"name": "f", "arguments": "{}"}}],
                [{"index": 0, "id": "c2", "function": {"name": "f", "arguments": "{}"}}],
            )
        ] == [0, 1]

    def test_late_name(self):
        """A call is withheld until its name is known. A call without a name is emitted at the end."""
        assert self.fragments(
            [{"index": 3, "id": "c1", "function": {"arguments": "{"}}],
            [{"index": 3, "function": {"name": "f", "arguments": "}"}}],
            [{"index": 4, "id": "c2", "function": None}],
        ) == [
            ToolCallFragment(call_index=0, id="c1", function_name="f", arguments="{}"),
            ToolCallFragment(call_index=1, id="c2"),
        ]

    def test_arguments_as_an_object(self):
        """Arguments sent as an object are encoded as JSON text."""
        assert self.fragments(
            [{"index": 0, "id": "c", "function": {"name": "f", "arguments": {"ä": [1.0]}}}]
        ) == [ToolCallFragment(call_index=0, id="c", function_name="f", arguments='{"ä": [1.0]}')]

    def test_older_function_call(self):
        """OpenAI's older `function_call` is a tool call. The finish `stop` after it becomes TOOL_CALLS."""
        deltas = finished(chat({"function_call": {"name": "f", "arguments": "{}"}}), STOP)
        assert deltas[0].fragments == (ToolCallFragment(call_index=0, function_name="f", arguments="{}"),)
        assert deltas[-1].finish == EngineFinish(reason=FinishReason.TOOL_CALLS, word="stop")


def test_names_with_a_lone_surrogate():
    """Ids and names of tool calls and texts of alternative tokens are made valid Unicode."""
    lone = "\ud83d"
    calls = [{"id": f"c{lone}", "function": {"name": f"f{lone}", "arguments": "[]"}}]
    entry = {"token": "a", "logprob": -1.0, "top_logprobs": [{"token": lone, "logprob": -1.0}]}
    lists = {"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": [{lone: -1.0}]}
    deltas = finished(
        chat({"tool_calls": calls}),
        text("a", logprobs={"content": [entry]}),
        chat({}, text="a", logprobs=lists),
        STOP,
        output=EVERYTHING,
    )
    (fragment,) = deltas[0].fragments
    texts = [fragment.id, fragment.function_name]
    texts += [top.text for delta in deltas for top in delta.top_logprobs]
    assert texts == [f"{c}\N{REPLACEMENT CHARACTER}" for c in ("c", "f", "", "")]


def test_many_pieces_before_the_name():
    """Arguments that come before the name are joined and emitted with it, as one fragment."""
    pieces = [chat({"tool_calls": [{"index": 0, "function": {"arguments": "x"}}]})] * 5000
    named = chat({"tool_calls": [{"index": 0, "id": "1", "function": {"name": "f"}}]})
    fragments = [part for delta in finished(*pieces, named, STOP) for part in delta.fragments]
    assert [part.arguments for part in fragments] == ["x" * 5000]
