"""Every fault on every HTTP dialect over real sockets: code and reason, all of the text, the bill."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc import error_details_pb2
from tokenstreaming.v1 import generation_pb2, usage_pb2

from tests.support import fault_page as page
from tests.support.anthropic_dialect import ANTHROPIC
from tests.support.fault_rows_well import SECTIONS
from tests.support.fault_steps import Seen
from tests.support.harness import Outcome, Served, check_gapless, serving, until, upstream
from tests.support.harness import failed as failed_outcome
from tests.support.scripted_engine import Call, ScriptedEngine
from tests.support.wire_dialects import (
    INPUT_TOKENS,
    LITELLM,
    LLAMA_CPP,
    OLLAMA,
    OPENAI,
    SGLANG,
    TGI,
    VLLM,
    Dialect,
)
from tokengrpc.core.text import encodable
from tokengrpc.wire.generation import usage_message
from tokengrpc.wire.status import CODES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.support.fault_rows import Fault
    from tokengrpc.core.ports.ledger import UsageRecord


@dataclass(frozen=True)
class Column:
    """An API of a kind of server, and how an engine is set up for it."""

    name: str
    dialect: Dialect
    api: str
    settings: Mapping[str, Any] = field(default_factory=dict)


SERVERS = {
    "OpenAI": (OPENAI, "openai"),
    "vLLM": (VLLM, "vllm"),
    "SGLang": (SGLANG, "sglang"),
    "llama.cpp": (LLAMA_CPP, "llamacpp"),
    "Ollama": (OLLAMA, "ollama"),
    "TGI": (TGI, "tgi"),
    "LiteLLM": (LITELLM, "litellm"),
}
COLUMNS = (
    *(
        Column(f"{name} {api}", dialect, api, {"dialect": setting})
        for name, (dialect, setting) in SERVERS.items()
        for api in ("chat", "completions")
    ),
    Column("Anthropic", ANTHROPIC, "messages", {"kind": "anthropic", "api": "auto"}),
)

ROWS = [(section, name) for section, faults in SECTIONS.items() for name in faults]


@dataclass(frozen=True)
class Stage:
    """A server with a model, and behind it an engine, for each column."""

    server: Served
    engines: Mapping[str, ScriptedEngine]


@asynccontextmanager
async def staged() -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        engines = {c.name: await stack.enter_async_context(ScriptedEngine(c.dialect)) for c in COLUMNS}
        models = [
            upstream(engines[c.name].base_url, **{"name": model_of(c), "api": c.api, **c.settings})
            for c in COLUMNS
        ]
        yield Stage(await stack.enter_async_context(serving(*models)), engines)


def model_of(column: Column) -> str:
    return column.name.replace(" ", "-")


@dataclass
class Result:
    """What came of a fault on one dialect."""

    outcome: Outcome
    said: str
    call: Call | None

    @property
    def usage(self) -> usage_pb2.Usage:
        return self.outcome.messages[-1].usage

    @property
    def source(self) -> str:
        if not self.outcome.messages:
            return "none"
        return "told" if self.usage.source == usage_pb2.USAGE_SOURCE_ENGINE else "flagged"


@pytest.mark.parametrize(("section", "name"), ROWS, ids=lambda part: part.replace(" ", "-"))
async def test_fault(section: str, name: str) -> None:
    """The documented code and reason on each dialect, the text of the engine's own log, an honest bill."""
    fault = SECTIONS[section][name]
    columns = [column for column in COLUMNS if column.api not in fault.lacks]
    async with asyncio.timeout(30), AsyncExitStack() as waiting, staged() as stage:
        for engine in stage.engines.values():
            if fault.listener == "gone":
                await engine.hang_up()
            elif fault.listener == "deaf":
                for plug in await engine.go_deaf():
                    waiting.enter_context(plug)
        results = await asyncio.gather(*(provoke(stage, column, fault) for column in columns))
        await until(lambda: stage.server.registry.active == 0, "all permits are back")
        for column in columns:
            await let_go(stage.engines[column.name], fault)
    bills = {entry.model: entry for entry in stage.server.ledger.records.values()}
    for column, result in zip(columns, results, strict=True):
        try:
            check(fault, column, result)
            check_ledger(result, bills.get(model_of(column)))
        except AssertionError as error:
            raise AssertionError(f"{column.name}: {error}") from error
    seen = {column.name: as_told(fault, result) for column, result in zip(columns, results, strict=True)}
    line = page.line(name, "no completions" if fault.lacks else "all", seen)
    if page.WRITE_DOCS:
        WRITTEN[section, name] = line
    else:
        assert line in page.lines()[section], f"docs/faults.md has not: {line}"


async def provoke(stage: Stage, column: Column, fault: Fault) -> Result:
    """Runs a generation into the fault and takes what the caller gets."""
    seen = Seen()
    engine = stage.engines[column.name]
    engine.script(*fault.steps(seen))
    stream = stage.server.stream(model_of(column), model=model_of(column), **fault.request)
    outcome = Outcome([], grpc.StatusCode.OK, "", {})
    try:
        while (message := await stream.read()) is not grpc.aio.EOF:
            outcome.messages.append(message)
            seen.said += "".join(t.text + t.reasoning_text + t.refusal_text for t in message.tokens)
            seen.said += "".join(part.arguments_fragment for part in message.tool_call_fragments)
    except grpc.aio.AioRpcError as error:
        outcome = failed_outcome(error, outcome.messages)
    assert len(engine.calls) == (fault.listener == "well"), "the engine is asked once"
    return Result(outcome, seen.said, engine.calls[0] if engine.calls else None)


async def let_go(engine: ScriptedEngine, fault: Fault) -> None:
    """At most the one connection that may be used again is left, and none that still says something."""
    await until(lambda: engine.open_connections <= 1, "the engine's connections are closed")
    if engine.calls and not engine.calls[0].finished.is_set():
        await until(lambda: engine.open_connections == 0, "a stalled connection is closed")


def check(fault: Fault, column: Column, result: Result) -> None:
    """The row's promise."""
    outcome, call = result.outcome, result.call
    reason = fault.differs.get(column.name, fault.reason)
    got = outcome.info.reason if outcome.info else ""
    assert (outcome.code.name, got) == (CODES[reason].name if reason else "OK", reason), outcome.message
    check_gapless(outcome.messages)
    finished = outcome.finished
    if not reason:
        assert finished is not None
        finish = generation_pb2.FinishReason.Name(finished.finish_reason)
        assert finish == f"FINISH_REASON_{fault.finish}"
    elif outcome.messages:
        assert finished is not None
        assert finished.status == outcome.status
    assert outcome.info is None or outcome.info.metadata["clock"] == fault.clock
    if fault.retry_after is not None:
        retry = outcome.detail(error_details_pb2.RetryInfo)
        assert retry.retry_delay.ToTimedelta().total_seconds() == fault.retry_after
    assert result.said == (encodable(call.text) if call else "")
    if outcome.messages and call is not None:
        check_bill(fault, column, result, call)


def check_bill(fault: Fault, column: Column, result: Result, call: Call) -> None:
    """What the engine's own log says, or marked as a count of ours."""
    usage, told = result.usage, column.dialect.told(call)
    if result.source == "told":
        assert told is not None
        counts = (usage.input_token_count, usage.output_token_count)
        assert counts == told
        assert counts == (INPUT_TOKENS, call.token_count)
    elif not fault.reason:
        assert told is None, "the engine told its usage, and it was not taken"


def check_ledger(result: Result, bill: UsageRecord | None) -> None:
    """The ledger has what the caller was told, if an engine accepted, and nothing otherwise."""
    assert (bill is not None) == bool(result.outcome.messages)
    if bill is not None:
        assert usage_message(bill.usage) == result.usage
        assert bill.error_reason == (result.outcome.info.reason if result.outcome.info else "")


def as_told(fault: Fault, result: Result) -> tuple[str, str]:
    """The cells of docs/faults.md: how it ended, and whose usage it is."""
    outcome = result.outcome
    if outcome.info is None:
        assert outcome.finished is not None
        finish = generation_pb2.FinishReason.Name(outcome.finished.finish_reason)
        return f"OK, {finish.removeprefix('FINISH_REASON_')}", result.source
    clock = f", clock `{fault.clock}`" if fault.clock else ""
    return f"{outcome.code.name} `{outcome.info.reason}`{clock}", result.source


WRITTEN: dict[tuple[str, str], str] = {}


def test_the_page_has_these_rows_and_no_others() -> None:
    """In their order; `test_fault` compares each line with a run."""
    if page.WRITE_DOCS:
        page.write([column.name for column in COLUMNS], SECTIONS, WRITTEN)
    told = [(section, name) for section, lines in page.lines().items() for name in map(page.name_of, lines)]
    assert told == ROWS


def test_there_are_enough_rows() -> None:
    """At least 40 faults on every dialect."""
    for column in COLUMNS:
        faults = [f for faults in SECTIONS.values() for f in faults.values() if column.api not in f.lacks]
        assert len(faults) >= 40, column.name
