"""`tokengrpc stream` and `tokengrpc chat`: streamed text, summaries and interruptions."""

from __future__ import annotations

import json
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

# Short ids are on the same line as the rest, random ones on the next.
SUMMARY = re.compile(
    r"(\d+) tokens?, input \d+ \(.+\), first after \d+ ms, \d+\.\d tokens/s, ([A-Z_]+)(?:, |\n)id (\S+)\n"
)
# Makes stdin the controlling terminal of the process, so that Ctrl-C reaches the process as in a shell.
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
    """The summary line has tokens, usage, time to first token, rate, finish reason and id."""
    done = server("stream", "What is token streaming?", "--max-tokens", "9", "--id", "summary")
    assert done.returncode == 0
    assert done.stdout.strip()
    assert SUMMARY.fullmatch(done.stderr).groups() == ("9", "MAX_TOKENS", "summary")


def test_text_is_written_while_it_is_generated(server):
    """The first text can be read while the generation is still running."""
    with server.running("stream", "a", "--max-tokens", "500", "--id", "live") as process:
        assert process.stdout.read(1)
        assert state_of(server, "live") == "GENERATION_STATE_GENERATING"
        process.send_signal(signal.SIGINT)
        process.communicate()


def test_the_prompt_can_come_from_stdin(server):
    """A prompt from stdin gives the same answer as one on the command line."""
    piped = server("stream", "-", "--max-tokens", "5", "--seed", "1", stdin=b"Tell me about tokens.")
    typed = server("stream", "Tell me about tokens.", "--max-tokens", "5", "--seed", "1")
    without_dash = server("stream", "--max-tokens", "5", "--seed", "1", stdin=b"Tell me about tokens.")
    assert piped.stdout == without_dash.stdout == typed.stdout
    binary = server("stream", "-", stdin=b"\xff")
    assert (binary.returncode, binary.stderr.count("\n")) == (2, 1)
    assert "is not UTF-8" in binary.stderr


def test_json_is_one_message_a_line(server):
    """Each line is a StreamTokensResponse with the contract's field names."""
    done = server("stream", "a", "--max-tokens", "4", "--json")
    messages = messages_of(done)
    assert messages[0].HasField("started")
    assert messages[-1].HasField("finished")
    assert len(tokens_of(done)) == 4
    assert '"finish_reason": "FINISH_REASON_MAX_TOKENS"' in done.stdout


def test_resume_shows_the_remaining_events(server):
    """`--resume` shows all events after the sequence, and none before it."""
    all_tokens = tokens_of(server("stream", "a", "--max-tokens", "8", "--id", "resumed", "--json"))
    rest = tokens_of(server("stream", "--resume", "resumed", "--after", "4", "--json"))
    assert rest == all_tokens[3:]
    beyond = server("stream", "--resume", "resumed", "--after", "99")
    assert beyond.returncode == 1
    assert beyond.stderr.startswith("error: OUT_OF_RANGE SEQUENCE_OUT_OF_RANGE: ")


def test_a_stop_sequence_ends_the_answer(server):
    """The stop sequence is not part of the answer."""
    text = server("stream", "a", "--max-tokens", "9", "--seed", "3").stdout.strip()
    stop = text.split()[-1]
    done = server("stream", "a", "--max-tokens", "9", "--seed", "3", "--stop", stop, "--stop", "~~~")
    assert text.startswith(done.stdout.rstrip("\n"))
    assert stop not in done.stdout
    assert SUMMARY.fullmatch(done.stderr)[2] == "STOP_SEQUENCE"


def test_a_prompt_is_a_users_message_unless_it_is_raw(server):
    """`--system` adds a system message, and is not allowed with `--raw`."""
    plain, chat, system = (
        int(re.search(r"input (\d+)", server("stream", "a", "--max-tokens", "2", *more).stderr)[1])
        for more in (("--raw",), (), ("--system", "Be brief."))
    )
    assert plain < chat < system
    assert server("stream", "a", "--raw", "--system", "Be brief.").returncode == 2


def test_the_timeout_fails_or_keeps_the_partial_answer(server):
    """With `--partial`, the timeout is not a failure. The text is shown in both cases."""
    failed = server("stream", "a", "--max-tokens", "500", "--timeout", "0.8")
    assert failed.returncode == 1
    assert failed.stdout.strip()
    assert failed.stderr.splitlines()[-1].startswith("error: DEADLINE_EXCEEDED: ")
    partial = server("stream", "a", "--max-tokens", "500", "--timeout", "0.8", "--partial")
    assert partial.returncode == 0
    assert partial.stdout.strip()
    assert SUMMARY.fullmatch(partial.stderr)


def test_labels_are_those_of_the_generation(server):
    """Each is KEY=VALUE; a value may contain more of these characters."""
    server("stream", "a", "--id", "labelled", "--label", "team=search", "--label", "query=a=b")
    shown = json.loads(server("get", "labelled", "--json").stdout)
    assert shown["labels"] == {"team": "search", "query": "a=b"}
    refused = server("stream", "a", "--label", "team")
    assert refused.returncode == 2
    assert "'team' must be KEY=VALUE" in refused.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_cancels_the_generation(server, number, code):
    """The summary has the tokens generated before the interruption."""
    name = f"interrupted-{code}"
    with server.running("stream", "a", "--max-tokens", "2000", "--id", name) as process:
        assert process.stdout.read(1)
        process.send_signal(number)
        out, err = process.communicate()
    assert process.returncode == code
    assert out.endswith(b"\n")
    # It is one line or two, by the number of digits.
    assert re.fullmatch(rf"\d+ tokens?, input \d+ .+, CANCELLED(, |\n)id {name}\n", err.decode())
    assert state_of(server, name) == "GENERATION_STATE_CANCELLED"


def test_closing_the_output_pipe_cancels_the_generation(server):
    """As with `| head`, nothing is printed and the exit code is that of SIGPIPE."""
    with server.running("stream", "a", "--max-tokens", "2000", "--id", "piped") as process:
        assert process.stdout.read(1)
        process.stdout.close()
        err = process.stderr.read()
        assert (process.wait(), err) == (141, b"")
    assert state_of(server, "piped") == "GENERATION_STATE_CANCELLED"


def test_a_rejection_is_shown_at_once_with_the_retry_delay(tmp_path, capfd):
    """Without patience, the command makes one call and shows what the server said."""
    file = tmp_path / "tokengrpc.toml"
    file.write_text("[limits]\nmax_generations = 1\n")
    with serving("--config", str(file), "--pace", "20", "--log-level", "info") as server:
        with server.running("stream", "a", "--max-tokens", "2000") as first:
            assert first.stdout.read(1)
            rejected = server("stream", "a", "--patience", "0")
            first.send_signal(signal.SIGINT)
            first.communicate()
        assert server.stop() == 0
    assert rejected.returncode == 1
    assert rejected.stderr.startswith("error: UNAVAILABLE OVERLOADED: ")
    assert re.search(r"try again in 0\.\d s, .* \(retry after 0\.\d+ s\)\n$", rejected.stderr)
    assert capfd.readouterr().err.count("OVERLOADED") == 1


def test_chat_answers_each_line_of_a_pipe(server):
    """No prompts are shown. Each message is sent with the conversation before it, until /reset."""
    lines = b"Hello\n\nAnd now?\n/reset\nHello\n/exit\nnot sent\n"
    done = server("chat", "--max-tokens", "5", stdin=lines)
    assert done.returncode == 0
    assert ">" not in done.stdout
    first, second, again, total = [int(count) for count in re.findall(r"input (\d+)", done.stderr)]
    assert first == again < second
    assert done.stderr.splitlines()[-1] == f"total of 3 answers: 15 tokens, input {total}"
    assert total == first + second + again


def test_words_with_a_slash_are_commands_of_a_chat(server):
    """An unknown command shows the help and is not sent to the model. A path is not a command."""
    lines = b"/help\n/rest\n/reset now\n/\n/reset\n/etc/hosts is what?\n"
    done = server("chat", "--max-tokens", "5", stdin=lines)
    assert done.returncode == 0
    assert done.stderr.count("/help shows this help, /exit or Ctrl-D exits.\n") == 4
    unknown = re.findall(r"There is no command (.+)\. Ctrl-C", done.stderr)
    assert unknown == ["/rest", "/reset now", "/"]
    cleared, answer = done.stderr.splitlines()[4:6]
    assert cleared == "The conversation is cleared."
    assert answer.startswith("5 tokens, ")


def test_chat_shows_the_total_usage(server):
    """`/usage` shows it in the chat, and the end of the chat does. /reset does not clear it."""
    done = server("chat", "--max-tokens", "5", stdin=b"/usage\nHello\n/reset\n/usage\n")
    assert done.stderr.count("total of 0 answers: 0 tokens, input 0\n") == 1
    assert len(re.findall(r"total of 1 answer: 5 tokens, input [1-9]\d*\n", done.stderr)) == 2


def test_exiting_a_chat_is_not_a_failure(server):
    """The exit code after /exit is 0 even if the last answer failed."""
    assert server("chat", "--model", "nope", stdin=b"Hello\n/exit\n").returncode == 0


def test_chat_continues_after_a_failure(server):
    """At the end of the input, the exit code says whether the last answer failed."""
    done = server("chat", "--model", "nope", stdin=b"Hello\nHello again\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("error: NOT_FOUND MODEL_NOT_FOUND: ") == 2


def test_ctrl_c_in_a_chat_stops_only_the_answer(server):
    """On a real terminal: Ctrl-C, another message, Ctrl-C at the prompt, Ctrl-D."""
    ours, theirs = pty.openpty()
    seen = bytearray()

    def wait_for(pattern: bytes) -> int:
        """Reads the terminal until the pattern matches, and discards the output up to the match.

        Returns the number at the end of the match, or 0.
        """
        while (match := re.search(pattern, seen)) is None:
            seen.extend(os.read(ours, 4096))
        value = bytes(match[0])
        del seen[: match.end()]
        return int(value.split()[-1]) if value.split()[-1].isdigit() else 0

    def interrupted() -> list[int]:
        # Python's `input` misses a signal that arrives just before it waits, so Ctrl-C is sent repeatedly.
        os.write(ours, b"\x03")
        return select.select([ours], [], [], 0.2)[0]

    options = {"prefix": TERMINAL, "start_new_session": True}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), theirs)
    with server.running("chat", "--max-tokens", "2000", **options, **pipes) as process:
        os.close(theirs)
        try:
            wait_for(rb"(?s)exits\..*> ")
            os.write(ours, b"Hello\n")
            wait_for(rb"(?s)Hello\r\n.*?\w")
            os.write(ours, b"\x03")
            first = wait_for(rb"input \d+")
            wait_for(rb"(?s)CANCELLED.*> ")
            os.write(ours, b"And now?\n")
            wait_for(rb"(?s)And now\?\r\n.*?\w")
            os.write(ours, b"\x03")
            second = wait_for(rb"input \d+")
            wait_for(rb"(?s)CANCELLED.*> ")
            os.write(ours, b"half a line")
            wait_for(rb"half a line")
            until(interrupted, "the answer to Ctrl-C at the prompt")
            wait_for(rb"(?s)exits\..*> ")
            os.write(ours, b"\x04")
            until(lambda: process.poll() is not None, "the end of the chat")
        finally:
            os.close(ours)
    assert process.returncode == 0
    assert first < second


def test_an_engine_switch_is_shown(tmp_path):
    """With --switches, another engine continues after a failure: same text, and a note on stderr."""
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
        name = "reliable"
        """
    )
    command = ("stream", "What is token streaming?", "--seed", "1", "--max-tokens", "12", "--model")
    with serving("--config", str(config)) as server:
        complete = server(*command, "reliable")
        switched = server(*command, "chat", "--switches", "1")
        lost = server(*command, "chat")
    assert (switched.returncode, switched.stdout) == (0, complete.stdout)
    assert switched.stderr.startswith(
        "\nengine weak failed (ENGINE_LOST), engine spare continues the answer\n"
    )
    assert "ENGINE_LOST" in lost.stderr
    assert complete.stdout.startswith(lost.stdout.rstrip("\n"))
    assert lost.returncode != 0
