"""Writer of log lines that never blocks its callers and never fails, whatever happens to the log stream."""

from __future__ import annotations

import io
import os
import select
import threading
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_QUEUED_LINES = 10_000
MAX_LINE_LENGTH = 16_384
"""Characters of one write. The rest is cut, so that the queue is bounded in bytes too."""
GATHER_SECONDS = 0.05
"""Seconds from one write to the next unless `flush` is called: to wake a thread costs more than a line."""
_BATCH_LINES = 256
_CUT = " ... (cut)\n"


class LogWriter(io.TextIOBase):
    """Text stream over a file descriptor, with a bounded queue and a writer thread.

    `write` queues a line and returns at once, from any thread and from signal handlers. The first line after
    a pause is written at once; lines that follow within `gather_seconds` are written together, or when
    `flush` is called. If the queue is full, because nobody reads the pipe behind the descriptor, or if the
    descriptor cannot be written, because its disk is full or its reader is gone, lines are dropped and
    counted. As soon as lines can be written again, `on_dropped` is called with the number of lines that were
    dropped since the last call.
    """

    def __init__(
        self,
        fd: int,
        on_dropped: Callable[[int], None],
        *,
        max_lines: int = MAX_QUEUED_LINES,
        gather_seconds: float = GATHER_SECONDS,
    ) -> None:
        """`on_dropped` runs on the writer thread and may write to this stream."""
        super().__init__()
        self._fd = fd
        self._on_dropped = on_dropped
        self._max_lines = max_lines
        self._gather_seconds = gather_seconds
        # Their `put` is reentrant: a signal handler or destructor that logs cannot deadlock.
        self._queue: SimpleQueue[str | Callable[[], str] | threading.Event] = SimpleQueue()
        self._hurry: SimpleQueue[None] = SimpleQueue()
        self._end = threading.Event()
        self._lock = threading.RLock()
        self._dropped = 0
        self._total_dropped = 0
        self._within_line = False
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines that were dropped and not yet reported."""
        return self._dropped

    @property
    def total_dropped(self) -> int:
        """Lines that were dropped since the stream was made, reported or not."""
        return self._total_dropped

    @property
    def is_running(self) -> bool:
        """Whether lines are still written: until `finish`, and then until the last one."""
        return self._thread.is_alive()

    @property
    def encoding(self) -> str:  # type: ignore[override] # the type stubs have a plain attribute
        """UTF-8."""
        return "utf-8"

    def write(self, text: str, /) -> int:
        """Queues a line, or drops it if the queue is full. Returns its length."""
        if text:
            text = _bounded(text)
            self._put(text)
        return len(text)

    def write_later(self, render: Callable[[], str]) -> None:
        """Queues a line that the writer thread makes, by calling a function, or drops it as `write` does.

        If the function raises, the line says so.
        """
        self._put(render)

    def flush(self) -> None:
        """Makes the writer thread write what is queued as soon as it can. Returns at once."""
        if self._hurry.empty():
            self._hurry.put(None)

    def fileno(self) -> int:
        """Returns the file descriptor of the log stream."""
        return self._fd

    def isatty(self) -> bool:
        """Returns whether the log stream is a terminal."""
        return os.isatty(self._fd)

    def writable(self) -> bool:
        """Returns True."""
        return True

    def wait_written(self, seconds: float) -> None:
        """Waits until all lines that are queued now are written or dropped, but no longer than `seconds`."""
        self._mark(threading.Event()).wait(seconds)

    def finish(self, seconds: float) -> None:
        """Waits until all queued lines are written, but no longer than `seconds`. Later lines are lost."""
        self._mark(self._end)
        self._thread.join(seconds)

    def _put(self, line: str | Callable[[], str]) -> None:
        queued = self._queue.qsize()
        # The report about dropped lines is never dropped itself.
        if queued < self._max_lines or threading.current_thread() is self._thread:
            self._queue.put(line)
        else:
            self._drop(1)
        if queued >= self._max_lines // 2:
            self.flush()

    def _mark(self, reached: threading.Event) -> threading.Event:
        """Queues an event that is set as soon as all lines before it are written or dropped."""
        self._queue.put(reached)
        self.flush()
        return reached

    def _run(self) -> None:
        while not self._end.is_set():
            lines, reached = self._next_batch()
            if lines and self._write_all(lines):
                self._report_dropped()
            if reached is not None:
                reached.set()
            elif self._queue.empty():
                self._gather()
        # What the report itself queued.
        rest, _ = self._queued()
        self._write_all(rest)

    def _gather(self) -> None:
        """Leaves the queue alone for a while, so that many lines are one write."""
        with suppress(Empty):
            self._hurry.get(timeout=self._gather_seconds)

    def _next_batch(self) -> tuple[list[str], threading.Event | None]:
        """Waits for a line. Returns it with those queued behind it, up to a mark."""
        first = self._queue.get()
        if isinstance(first, threading.Event):
            return [], first
        rest, reached = self._queued()
        return [_text(first), *rest], reached

    def _queued(self) -> tuple[list[str], threading.Event | None]:
        lines: list[str] = []
        while len(lines) < _BATCH_LINES:
            try:
                line = self._queue.get_nowait()
            except Empty:
                break
            if isinstance(line, threading.Event):
                return lines, line
            lines.append(_text(line))
        return lines, None

    def _write_all(self, lines: list[str]) -> bool:
        """Writes lines. Returns False if any was lost; lost lines are counted."""
        text = "".join(lines)
        # A line that a failure cut in two is ended first, so that the next line can be parsed.
        data = memoryview((b"\n" if self._within_line else b"") + text.encode(errors="backslashreplace"))
        while data:
            try:
                written = os.write(self._fd, data)
            except BlockingIOError:
                # Another process has made the stream non-blocking.
                select.select([], [self._fd], [])
                continue
            except OSError:
                self._drop(bytes(data).count(b"\n"))
                return False
            self._within_line = data[written - 1] != ord("\n")
            data = data[written:]
        return True

    def _drop(self, lines: int) -> None:
        with self._lock:
            self._dropped += lines
            self._total_dropped += lines

    def _report_dropped(self) -> None:
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        if dropped:
            self._on_dropped(dropped)


def _bounded(text: str) -> str:
    return text if len(text) <= MAX_LINE_LENGTH else text[: MAX_LINE_LENGTH - len(_CUT)] + _CUT


def _text(line: str | Callable[[], str]) -> str:
    if isinstance(line, str):
        return line
    try:
        return _bounded(line())
    except Exception as error:
        return f"a log line could not be made ({type(error).__name__})\n"
