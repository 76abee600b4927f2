"""What a person sees on a terminal of 60, 80 or 120 columns: answers, summaries, help, tables."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

import grpc
import pytest
from tokenstreaming.v1 import token_stream_pb2 as pb
from tokenstreaming.v1 import token_stream_pb2_grpc

from tests.cli.test_cli import COMMANDS
from tests.support.commands import serving, tokengrpc
from tests.support.terminals import shown

ANSWER = ("stream", "What is token streaming?", "--seed", "1", "--max-tokens", "60")
BARS = "▁▂▃▄▅▆▇█"

USAGE = ("summary", "list", "entries", "export", "reconcile", "reprice", "prune")


@pytest.fixture(scope="module")
def server():
    with serving("--pace", "200") as started:
        yield started


def on_terminal(server, *arguments, columns, **options) -> list[str]:
    return shown(*arguments, columns=columns, TOKENGRPC_TARGET=server.target, **options)


@pytest.mark.parametrize("columns", [24, 60, 80])
def test_an_answer_is_wrapped_between_words(server, columns):
    """No word is cut, and lines are as long as possible. In a pipe, the text is as it came."""
    text = server(*ANSWER).stdout.rstrip("\n")
    assert "\n" not in text
    lines = on_terminal(server, *ANSWER, "--id", f"wrapped-{columns}", columns=columns)
    answer = lines[: next(number for number, line in enumerate(lines) if line.startswith("60 tokens"))]
    assert " ".join(answer) == text
    assert all(len(line) + 1 + len(following.split()[0]) > columns for line, following in pairwise(answer))


def test_a_terminal_that_cannot_erase_gets_the_text_as_it_came(server):
    """TERM=dumb: the terminal itself breaks the lines."""
    text = server(*ANSWER).stdout.rstrip("\n")
    assert "".join(on_terminal(server, *ANSWER, columns=1000, TERM="dumb")).startswith(text)


def test_notes_and_errors_are_wrapped(server):
    """In a pipe, each is one line."""
    lines = on_terminal(server, "chat", columns=40, stdin=b"/help\n")
    assert "Ctrl-C stops an answer, /reset clears" in lines
    unknown = ("stream", "a", "--model", "nope")
    lines = on_terminal(server, *unknown, columns=40)
    assert len(lines) > 2
    assert f"{' '.join(lines)}\n" == server(*unknown).stderr


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_summary_fits_the_terminal(server, columns):
    """Lines are broken between the facts, so each fact is in one piece. The random id is one of them."""
    lines = on_terminal(server, *ANSWER, columns=columns)
    summary = lines[next(number for number, line in enumerate(lines) if line.startswith("60 tokens")) :]
    assert all(len(line) <= columns for line in summary)
    facts = ", ".join(summary)
    assert re.fullmatch(
        r"60 tokens, input \d+ \(engine\), first after \d+ ms, \d+\.\d tokens/s, MAX_TOKENS, id \w{32}", facts
    )


def test_timing_is_shown_after_the_answer(server):
    """`--show timing`: a bar for each latency, the highest for the longest one, and three figures."""
    done = server("stream", "a", "--max-tokens", "20", "--show", "timing")
    bars, figures = done.stderr.splitlines()[-2:]
    assert len(bars) == 19
    assert set(bars) <= set(BARS)
    assert BARS[-1] in bars
    numbers = re.fullmatch(r"inter-token latency: p50 (\S+) ms, p99 (\S+) ms, max (\S+) ms", figures).groups()
    p50, p99, most = map(float, numbers)
    # Where the machine is busy, most tokens arrive together.
    assert 0 <= p50 <= p99 <= most
    assert most > 0
    single = server("stream", "a", "--max-tokens", "1", "--show", "timing")
    assert single.stderr.endswith("inter-token latency: there are no two tokens to measure\n")
    long = on_terminal(server, "stream", "a", "--max-tokens", "90", "--show", "timing", columns=40)
    assert 0 < len(long[-2].strip()) <= 40


def test_an_ascii_output_gets_ascii_bars(server):
    """Bars that the encoding of stderr lacks would all be question marks."""
    done = server("stream", "a", "--max-tokens", "9", "--show", "timing", PYTHONIOENCODING="ascii")
    assert re.fullmatch(r"[-_.=+*%#]{8}", done.stderr.splitlines()[-2])


@pytest.mark.parametrize("command", ["", *COMMANDS, *(f"usage {name}" for name in USAGE)])
def test_help_has_whole_words_at_any_width(command):
    """The same words at 60, 80 and 120 columns, in lines that fit, and no names of types."""
    pages = {
        width: tokengrpc(*command.split(), "--help", COLUMNS=str(width)).stdout for width in (60, 80, 120)
    }
    # A line may be broken after the hyphen of a word.
    words = [Counter(re.sub(r"(?<=\w)-\n\s+", "-", page).split()) for page in pages.values()]
    assert words[0] == words[1] == words[2]
    assert all(len(line) <= width for width, page in pages.items() for line in page.splitlines())
    assert not re.search(r"<\w+( range)?>|\x1b", pages[80])


def test_settings_fit_a_terminal(server):
    """The comments of `tokengrpc config` are wrapped. The values, which TOML cannot break, fit as well."""
    lines = shown("config", columns=80)
    assert 'listen = "127.0.0.1:50051"  # ' in lines[0]
    assert all(len(line) <= 80 for line in lines)
    assert len(lines) > len(tokengrpc("config").stdout.splitlines())


def test_models_fit_a_narrow_terminal(server):
    """Engines and capabilities are below the model's row, and wrapped behind their name."""
    header, row, engines, *capabilities = on_terminal(server, "models", columns=60)
    assert (header.split()[0], row.split()[0]) == ("model", "builtin")
    assert engines == "  engines: builtin (builtin, healthy)"
    assert 1 < len(capabilities) < 6
    assert all(line.startswith(("  capabilities: ", " " * 16)) for line in capabilities)


def test_long_fields_of_a_generation_fit_a_narrow_terminal(server):
    """They are wrapped behind their name, by columns: a wide character takes two."""
    value = "漢字" * 30
    request = pb.StreamTokensRequest(
        generation_id="wide", prompt="a", max_output_token_count=1, labels={"k": value}
    )
    with grpc.insecure_channel(server.target) as channel:
        list(token_stream_pb2_grpc.TokenStreamStub(channel).StreamTokens(request))
    lines = on_terminal(server, "get", "wide", columns=60)
    assert re.sub(r"\s", "", "".join(lines[-3:])) == f"labelk{value}"
