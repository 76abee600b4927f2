"""`tokengrpc stream` and `tokengrpc chat`: text as it comes, summaries, interruptions."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import sys

import pytest
from google.protobuf.json_format import Parse
from tokenstreaming.v1.token_stream_pb2 import StreamTokensResponse

from tests.support.commands import PROGRAM, serving, state_of, until

SUMMARY = re.compile(
    r"(\d+) tokens?, input \d+ \(.+\), first after \d+ ms, \d+\.\d tokens/s, ([A-Z_]+), id (\S+)\n"
)
# Makes its terminal the controlling one, so that its Ctrl-C reaches the process, as in a shell.
TERMINAL = (
    sys.executable,
    "-c",
    "import fcntl, os, sys, termios\n"
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    "os.execv(sys.argv[1], sys.argv[1:])",
    *PROGRAM,
)


@pytest.fixture(scope="module")
def server():
    with serving("--pace", "50") as started:
        yield started


def messages_of(done) -> list[StreamTokensResponse]:
    return [Parse(line, StreamTokensResponse()) for line in done.stdout.splitlines()]


def tokens_of(done) -> list:
    return [token for message in messages_of(done) for token in message.tokens]


def test_text_goes_to_stdout_and_the_summary_to_stderr(server):
    """Tokens, usage, time to first token, rate, end and name in one line."""
    done = server("stream", "What is token streaming?", "--max-tokens", "9", "--id", "summary")
    assert done.returncode == 0
    assert done.stdout.strip()
    assert SUMMARY.fullmatch(done.stderr).groups() == ("9", "MAX_TOKENS", "summary")


def test_text_is_written_as_it_comes(server):
    """The first of it can be read while the rest is being generated."""
    with server.running("stream", "a", "--max-tokens", "500", "--id", "live") as process:
        assert process.stdout.read(1)
        assert state_of(server, "live") == "GENERATION_STATE_GENERATING"
        process.send_signal(signal.SIGINT)
        process.communicate()


def test_the_prompt_can_come_from_stdin(server):
    """It is the same as one on the command line."""
    piped = server("stream", "-", "--max-tokens", "5", "--seed", "1", stdin=b"Tell me about tokens.")
    typed = server("stream", "Tell me about tokens.", "--max-tokens", "5", "--seed", "1")
    without_dash = server("stream", "--max-tokens", "5", "--seed", "1", stdin=b"Tell me about tokens.")
    assert piped.stdout == without_dash.stdout == typed.stdout
    binary = server("stream", "-", stdin=b"\xff")
    assert (binary.returncode, binary.stderr.count("\n")) == (2, 1)
    assert "is not UTF-8" in binary.stderr


def test_json_is_one_message_a_line(server):
    """Each line is a StreamTokensResponse with the contract's own names."""
    done = server("stream", "a", "--max-tokens", "4", "--json")
    messages = messages_of(done)
    assert messages[0].HasField("started")
    assert messages[-1].HasField("finished")
    assert len(tokens_of(done)) == 4
    assert '"finish_reason": "FINISH_REASON_MAX_TOKENS"' in done.stdout


def test_resume_gives_the_rest(server):
    """Everything after the sequence, and nothing before it."""
    whole = tokens_of(server("stream", "a", "--max-tokens", "8", "--id", "resumed", "--json"))
    rest = tokens_of(server("stream", "--resume", "resumed", "--after", "4", "--json"))
    assert rest == whole[3:]
    beyond = server("stream", "--resume", "resumed", "--after", "99")
    assert beyond.returncode == 1
    assert beyond.stderr.startswith("error: OUT_OF_RANGE SEQUENCE_OUT_OF_RANGE: ")


def test_a_stop_sequence_ends_the_answer(server):
    """It is not part of it."""
    text = server("stream", "a", "--max-tokens", "9", "--seed", "3").stdout.strip()
    stop = text.split()[-1]
    done = server("stream", "a", "--max-tokens", "9", "--seed", "3", "--stop", stop, "--stop", "~~~")
    assert text.startswith(done.stdout.rstrip("\n"))
    assert stop not in done.stdout
    assert SUMMARY.fullmatch(done.stderr)[2] == "STOP_SEQUENCE"


def test_a_prompt_is_a_users_message_unless_it_is_raw(server):
    """A system text comes on top of it, and does not go with --raw."""
    plain, chat, system = (
        int(re.search(r"input (\d+)", server("stream", "a", "--max-tokens", "2", *more).stderr)[1])
        for more in (("--raw",), (), ("--system", "Be brief."))
    )
    assert plain < chat < system
    assert server("stream", "a", "--raw", "--system", "Be brief.").returncode == 2


def test_the_timeout_fails_or_takes_what_there_is(server):
    """With --partial it is no failure; the text is shown both ways."""
    failed = server("stream", "a", "--max-tokens", "500", "--timeout", "0.8")
    assert failed.returncode == 1
    assert failed.stdout.strip()
    assert failed.stderr.splitlines()[-1].startswith("error: DEADLINE_EXCEEDED: ")
    partial = server("stream", "a", "--max-tokens", "500", "--timeout", "0.8", "--partial")
    assert partial.returncode == 0
    assert partial.stdout.strip()
    assert SUMMARY.fullmatch(partial.stderr)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_cancels_the_generation(server, number, code):
    """The summary tells what was generated until then."""
    name = f"interrupted-{code}"
    with server.running("stream", "a", "--max-tokens", "2000", "--id", name) as process:
        assert process.stdout.read(1)
        process.send_signal(number)
        out, err = process.communicate()
    assert process.returncode == code
    assert out.endswith(b"\n")
    assert re.fullmatch(rf"\d+ tokens?, input \d+ .+, CANCELLED, id {name}\n", err.decode())
    assert state_of(server, name) == "GENERATION_STATE_CANCELLED"


def test_a_reader_that_leaves_the_pipe_cancels_the_generation(server):
    """As `| head` does: quietly, with the exit code of SIGPIPE."""
    with server.running("stream", "a", "--max-tokens", "2000", "--id", "piped") as process:
        assert process.stdout.read(1)
        process.stdout.close()
        err = process.stderr.read()
        assert (process.wait(), err) == (141, b"")
    assert state_of(server, "piped") == "GENERATION_STATE_CANCELLED"


def test_a_refusal_is_told_at_once_with_the_wait(tmp_path, capfd):
    """No retries that a person would take for a slow answer."""
    file = tmp_path / "tokengrpc.toml"
    file.write_text("[limits]\nmax_generations = 1\n")
    with serving("--config", str(file), "--pace", "20", "--log-level", "info") as server:
        with server.running("stream", "a", "--max-tokens", "2000") as first:
            assert first.stdout.read(1)
            refused = server("stream", "a")
            first.send_signal(signal.SIGINT)
            first.communicate()
        assert server.stop() == 0
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: UNAVAILABLE OVERLOADED: ")
    assert refused.stderr.endswith(" (worth another try in 0.5 s)\n")
    assert capfd.readouterr().err.count("OVERLOADED") == 1


def test_chat_answers_each_line_of_a_pipe(server):
    """Without prompts; each message is sent with the talk before it, until /reset."""
    lines = b"Hello\n\nAnd now?\n/reset\nHello\n/exit\nnot sent\n"
    done = server("chat", "--max-tokens", "5", stdin=lines)
    assert done.returncode == 0
    assert ">" not in done.stdout
    inputs = [int(count) for count in re.findall(r"input (\d+)", done.stderr)]
    first, second, again = inputs
    assert first == again < second


def test_words_with_a_slash_are_commands_of_a_chat(server):
    """Unknown ones are answered with those there are; nothing of them is sent. A path is no command."""
    lines = b"/help\n/rest\n/reset now\n/\n/reset\n/etc/hosts is what?\n"
    done = server("chat", "--max-tokens", "5", stdin=lines)
    assert done.returncode == 0
    *told, forgotten, answer = done.stderr.splitlines()
    assert all(
        line.endswith("/reset forgets the talk, /help shows this, /exit or Ctrl-D leaves.") for line in told
    )
    assert [line.split(". ")[0] for line in told[1:]] == [
        f"There is no command {name}" for name in ("/rest", "/reset now", "/")
    ]
    assert forgotten == "The talk is forgotten."
    assert answer.startswith("5 tokens, ")


def test_leaving_a_chat_is_no_failure(server):
    """Whatever the last answer was; only an input that ends says so."""
    assert server("chat", "--model", "nope", stdin=b"Hello\n/exit\n").returncode == 0


def test_chat_goes_on_after_a_failure(server):
    """Its exit code tells whether the last answer failed."""
    done = server("chat", "--model", "nope", stdin=b"Hello\nHello again\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("error: NOT_FOUND MODEL_NOT_FOUND: ") == 2


def test_ctrl_c_in_a_chat_stops_the_answer_and_keeps_the_talk(server):
    """At a real terminal: Ctrl-C, another message, Ctrl-C at the prompt, Ctrl-D."""
    ours, theirs = pty.openpty()
    seen = bytearray()

    def shown(pattern: bytes) -> int:
        """Reads the terminal until a text is there, and forgets all up to it."""
        while (match := re.search(pattern, seen)) is None:
            seen.extend(os.read(ours, 4096))
        value = bytes(match[0])
        del seen[: match.end()]
        return int(value.split()[-1]) if value.split()[-1].isdigit() else 0

    def interrupted() -> list[int]:
        # Python's `input` overlooks a signal that comes in the moment before it waits.
        os.write(ours, b"\x03")
        return select.select([ours], [], [], 0.2)[0]

    options = {"prefix": TERMINAL, "start_new_session": True}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), theirs)
    with server.running("chat", "--max-tokens", "2000", **options, **pipes) as process:
        os.close(theirs)
        try:
            shown(rb"(?s)leaves\..*> ")
            os.write(ours, b"Hello\n")
            shown(rb"(?s)Hello\r\n.*?\w")
            os.write(ours, b"\x03")
            first = shown(rb"input \d+")
            shown(rb"(?s)CANCELLED.*> ")
            os.write(ours, b"And now?\n")
            shown(rb"(?s)And now\?\r\n.*?\w")
            os.write(ours, b"\x03")
            second = shown(rb"input \d+")
            shown(rb"(?s)CANCELLED.*> ")
            os.write(ours, b"half a line")
            shown(rb"half a line")
            until(interrupted, "the answer to Ctrl-C at the prompt")
            shown(rb"(?s)leaves\..*> ")
            os.write(ours, b"\x04")
            until(lambda: process.poll() is not None, "the end of the chat")
        finally:
            os.close(ours)
    assert process.returncode == 0
    assert first < second


def test_an_engine_that_goes_on_is_told(tmp_path):
    """With --switches another engine goes on after a loss: the same text, and a line that says so."""
    config = tmp_path / "two.toml"
    config.write_text(
        """
        [[models]]
        name = "chat"
        [[models.engines]]
        name = "weak"
        faults = { cut_at_token = 5 }
        [[models.engines]]
        name = "spare"
        priority = 1
        [[models]]
        name = "whole"
        """
    )
    ask = ("stream", "What is token streaming?", "--seed", "1", "--max-tokens", "12", "--model")
    with serving("--config", str(config)) as server:
        whole = server(*ask, "whole")
        switched = server(*ask, "chat", "--switches", "1")
        lost = server(*ask, "chat")
    assert (switched.returncode, switched.stdout) == (0, whole.stdout)
    assert switched.stderr.startswith("\nengine weak was lost (ENGINE_LOST), spare goes on\n")
    assert "ENGINE_LOST" in lost.stderr
    assert whole.stdout.startswith(lost.stdout.rstrip("\n"))
    assert lost.returncode != 0
