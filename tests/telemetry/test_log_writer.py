"""`LogWriter` over real pipes and files: it never blocks, never fails, and counts what it drops."""

from __future__ import annotations

import fcntl
import os
import select
import sys
import termios
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import until
from tokengrpc.telemetry.log_writer import GATHER_SECONDS, MAX_LINE_LENGTH, LogWriter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PIPE_BYTES = 65_536
# Together longer than that.
LINES = 20_000


class Pipe:
    """Pipe whose write end is a log stream. Reports about dropped lines are kept, and written as lines."""

    def __init__(self, max_lines: int, gather_seconds: float) -> None:
        self.reader, self.fd = os.pipe()
        self.reports: list[int] = []
        self.writer = LogWriter(self.fd, self._report, max_lines=max_lines, gather_seconds=gather_seconds)

    def _report(self, lines: int) -> None:
        self.reports.append(lines)
        self.writer.write("dropped\n")

    def close_reader(self) -> None:
        """Closes the read end once; every write then fails with EPIPE."""
        if self.reader >= 0:
            os.close(self.reader)
            self.reader = -1

    def read(self) -> list[str]:
        """Reads the lines that the pipe has, and waits for the first one."""
        return os.read(self.reader, 1 << 16).decode().splitlines()

    def read_to_end(self) -> list[str]:
        """Reads all lines. The writer must be told to finish first."""
        data = bytearray()
        while True:
            running = self.writer.is_running
            readable, _, _ = select.select([self.reader], [], [], 0.01)
            if readable:
                data += os.read(self.reader, 1 << 16)
            elif not running:
                return data.decode().splitlines()

    @property
    def is_full(self) -> bool:
        """Whether the pipe holds as much as it can."""
        return fcntl.ioctl(self.reader, termios.FIONREAD, bytes(4)) == PIPE_BYTES.to_bytes(4, sys.byteorder)


@contextmanager
def opened(max_lines: int = LINES, gather_seconds: float = GATHER_SECONDS) -> Iterator[Pipe]:
    pipe = Pipe(max_lines, gather_seconds)
    try:
        yield pipe
    finally:
        pipe.close_reader()
        pipe.writer.finish(10)
        assert not pipe.writer.is_running
        os.close(pipe.fd)


def test_all_lines_arrive_in_order():
    """Nothing is dropped while the queue has room, although the pipe holds less."""
    with opened() as pipe:
        for number in range(LINES // 2):
            pipe.writer.write(f"line {number}\n")
        pipe.writer.finish(0)
        assert pipe.read_to_end() == [f"line {number}" for number in range(LINES // 2)]
    assert pipe.reports == []


@pytest.mark.parametrize("max_lines", [1, 100, 1000])
def test_an_unread_pipe_never_blocks(max_lines: int):
    """Lines beyond the queue are dropped. When the pipe is read again, their number is reported."""
    with opened(max_lines) as pipe:
        for number in range(LINES):
            pipe.writer.write(f"line {number}\n")
        pipe.writer.finish(0)
        lines = pipe.read_to_end()
    written = [line for line in lines if line != "dropped"]
    assert sum(pipe.reports) > 0
    assert len(written) + sum(pipe.reports) == LINES
    assert len(lines) - len(written) == len(pipe.reports)
    assert written == sorted(written, key=lambda line: int(line.split()[1]))


def test_a_broken_stream_is_reported_when_it_is_back(tmp_path: Path):
    """Each failed write is counted, and logging goes on when the descriptor can be written again."""
    with opened() as pipe:
        pipe.close_reader()
        for _ in range(100):
            pipe.writer.write("lost\n")
        until(lambda: pipe.writer.dropped == 100, "all lines are counted as dropped")
        log = tmp_path / "log"
        with log.open("w") as file:
            os.dup2(file.fileno(), pipe.fd)
            pipe.writer.write("back\n")
            pipe.writer.finish(10)
            assert log.read_text().split() == ["back", "dropped"]
    assert pipe.reports == [100]
    assert (pipe.writer.dropped, pipe.writer.total_dropped) == (0, 100)


def test_a_line_after_a_cut_line_starts_anew(tmp_path: Path):
    """A failure in the middle of a line does not spoil the next one."""
    with opened() as pipe:
        # The pipe takes as much as it can, which ends within a line.
        for _ in range(8):
            pipe.writer.write("x" * 9_999 + "\n")
        until(lambda: pipe.is_full, "the pipe is full")
        log = tmp_path / "log"
        with log.open("w") as file:
            pipe.close_reader()
            until(lambda: pipe.writer.dropped, "the rest is dropped")
            os.dup2(file.fileno(), pipe.fd)
            pipe.writer.write("next\n")
            pipe.writer.finish(10)
            assert log.read_text().split("\n") == ["", "next", "dropped", ""]


def test_a_non_blocking_stream_loses_nothing():
    """Another process that shares the terminal or pipe may have made it non-blocking."""
    with opened() as pipe:
        os.set_blocking(pipe.fd, False)
        for number in range(LINES // 2):
            pipe.writer.write(f"line {number}\n")
        pipe.writer.finish(0)
        assert len(pipe.read_to_end()) == LINES // 2


def test_lines_after_the_first_one_are_one_write():
    """They wait until somebody flushes: here for longer than the test."""
    with opened(gather_seconds=600) as pipe:
        pipe.writer.write("first\n")
        assert pipe.read() == ["first"]
        for _ in range(3):
            pipe.writer.write("gathered\n")
        assert not select.select([pipe.reader], [], [], 0)[0]
        pipe.writer.write("urgent\n")
        pipe.writer.flush()
        assert pipe.read() == ["gathered"] * 3 + ["urgent"]


def test_gathered_lines_need_no_flush():
    """They are written when the time is over."""
    with opened() as pipe:
        for number in range(3):
            pipe.writer.write(f"line {number}\n")
        lines: list[str] = []
        while len(lines) < 3:
            lines += pipe.read()
        assert lines == ["line 0", "line 1", "line 2"]


def test_half_a_queue_is_written_without_a_flush():
    """Lines are not dropped for being gathered."""
    with opened(max_lines=100, gather_seconds=600) as pipe:
        pipe.writer.write("first\n")
        assert pipe.read() == ["first"]
        for number in range(60):
            pipe.writer.write(f"line {number}\n")
        lines: list[str] = []
        while len(lines) < 51:
            lines += pipe.read()
    assert lines[:51] == [f"line {number}" for number in range(51)]


@pytest.mark.parametrize("lines", [0, 1, 1000])
def test_waiting_ends_when_the_lines_are_written(lines: int):
    """Long before the lines would have been written without it."""
    with opened(gather_seconds=600) as pipe:
        for number in range(lines):
            pipe.writer.write(f"line {number}\n")
        pipe.writer.wait_written(600)
        assert len(pipe.read() if lines else []) == lines


def test_waiting_for_an_unread_pipe_is_bounded():
    """And what follows is queued as before."""
    with opened() as pipe:
        for number in range(LINES // 2):
            pipe.writer.write(f"line {number}\n")
        pipe.writer.wait_written(0.01)
        pipe.writer.write("last\n")
        pipe.writer.finish(0)
        assert pipe.read_to_end()[-1] == "last"


def test_a_line_may_be_made_by_the_writer_thread():
    """In its turn, bounded like others. A function that fails costs its own line alone."""
    threads: set[str] = set()

    def made() -> str:
        threads.add(threading.current_thread().name)
        return "made\n"

    def fail() -> str:
        raise ValueError("secret")

    with opened() as pipe:
        pipe.writer.write("first\n")
        pipe.writer.write_later(made)
        pipe.writer.write_later(fail)
        pipe.writer.write_later(lambda: "x" * 10 * MAX_LINE_LENGTH + "\n")
        pipe.writer.write_later(str)
        pipe.writer.write("last\n")
        pipe.writer.finish(0)
        first, second, failed, cut, last = pipe.read_to_end()
    assert (first, second, last) == ("first", "made", "last")
    assert (threads, len(cut)) == ({"log-writer"}, MAX_LINE_LENGTH - 1)
    assert failed == "a log line could not be made (ValueError)"


def test_a_long_line_is_cut():
    """One line cannot fill the queue's memory."""
    with opened() as pipe:
        pipe.writer.write("x" * 10 * MAX_LINE_LENGTH + "\n")
        pipe.writer.write("next\n")
        pipe.writer.finish(0)
        cut, following = pipe.read_to_end()
    assert len(cut) == MAX_LINE_LENGTH - 1
    assert cut.endswith("(cut)")
    assert following == "next"
