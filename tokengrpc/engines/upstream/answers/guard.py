"""Holds an engine's answer to its request: cuts stop sequences, and checks the answer at its end."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from msgspec import structs

from tokengrpc.core.model import Delta, EngineFinish, FinishReason
from tokengrpc.engines.upstream.answers.checks import AnswerChecks
from tokengrpc.engines.upstream.answers.stop_cutter import StopCutter, stop_cutter, without_text
from tokengrpc.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Sequence

    from tokengrpc.core.ports.engine import Continuation
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.engines.upstream.settings import HttpEngineSettings
    from tokengrpc.errors import AnswerMismatch


def answer_guard(
    settings: HttpEngineSettings, request: GenerationRequest, continue_from: Continuation | None
) -> AnswerGuard | None:
    """Returns the guard of an answer, or None for a request that asks for nothing to be guarded."""
    cutter = stop_cutter(request)
    checks = AnswerChecks(
        settings.name,
        request,
        begun="" if continue_from is None else continue_from.text,
        schema_check=settings.schema_check,
        logprobs_check=settings.logprobs_check,
        ids_check=settings.ids_check,
    )
    return AnswerGuard(cutter, checks) if cutter is not None or checks.needed else None


async def guarded(
    batches: AsyncGenerator[Sequence[Delta], None], guard: AnswerGuard, *, usage_timeout: float
) -> AsyncGenerator[Sequence[Delta], None]:
    """Passes an engine's batches on through a guard.

    After a stop sequence, the engine has `usage_timeout` seconds for its finish reason and usage.
    """
    deadline: float | None = None
    async with aclosing(batches):
        try:
            while not guard.done:
                if guard.complete and deadline is None:
                    deadline = asyncio.get_running_loop().time() + usage_timeout
                async with asyncio.timeout_at(deadline):
                    batch = await anext(batches, None)
                if batch is None:
                    break
                passed = guard.take(batch)
                if passed or not batch:
                    yield passed or batch
        except (EngineError, TimeoutError, asyncio.CancelledError):
            rest = guard.end()
            if not guard.done:
                if rest:
                    yield rest
                raise
            yield rest
    guard.check()


class AnswerGuard:
    """Passes the deltas of one answer on. After each call, check `error`, then `done`.

    Once a stop sequence was found, the answer is complete: the engine's finish reason and usage may follow,
    and more text means that the engine does not stop by itself.
    """

    def __init__(self, cutter: StopCutter | None, checks: AnswerChecks) -> None:
        self._cutter = cutter
        self._checks = checks
        self.done = False
        """Whether the finish was passed on, or `error` stands for it."""
        self.error: AnswerMismatch | None = None

    @property
    def complete(self) -> bool:
        """Whether a stop sequence was found."""
        return self._cutter is not None and bool(self._cutter.matched)

    def check(self) -> None:
        """Raises `error`, if there is one."""
        if self.error is not None:
            raise self.error

    def take(self, deltas: Iterable[Delta]) -> list[Delta]:
        """Returns the deltas to pass on."""
        passed: list[Delta] = []
        for delta in deltas:
            if self.done:
                break
            self._take(delta, passed)
        return passed

    def end(self) -> list[Delta]:
        """Returns what is withheld, because the engine sends nothing more."""
        passed: list[Delta] = []
        if not self.done:
            if self.complete:
                self._finish(Delta(count=0, finish=EngineFinish(reason=FinishReason.END)), passed)
            else:
                self._show(self._flush(), passed)
        return passed

    def _take(self, delta: Delta, passed: list[Delta]) -> None:
        if self.complete and delta.text:
            rest = structs.replace(without_text(delta), fragments=(), finish=None)
            self._finish(structs.replace(rest, finish=EngineFinish(reason=FinishReason.END)), passed)
        elif delta.finish is not None:
            self._show(self._flush(), passed)
            self._finish(delta, passed)
        elif self._cutter is None or self.complete:
            self._show([delta], passed)
        else:
            self._show(self._cutter.push(delta), passed)

    def _flush(self) -> list[Delta]:
        return [] if self._cutter is None else self._cutter.flush()

    def _show(self, deltas: list[Delta], passed: list[Delta]) -> None:
        for delta in deltas:
            self._checks.take(delta)
        passed += deltas

    def _finish(self, delta: Delta, passed: list[Delta]) -> None:
        finish = delta.finish or EngineFinish(reason=FinishReason.END)
        if self._cutter is not None and self._cutter.matched:
            finish = EngineFinish(
                reason=FinishReason.STOP_SEQUENCE, word=finish.word, matched_stop=self._cutter.matched
            )
        self.done = True
        self.error = self._checks.finish(finish.reason)
        passed.append(structs.replace(delta, finish=finish if self.error is None else None))
