"""Every fault on every dialect over real sockets: code and reason, complete text, usage."""

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
from tests.support.fault_rows_grpc import NAME as GRPC
from tests.support.fault_rows_grpc import SECTIONS
from tests.support.fault_steps import CaughtUp
from tests.support.harness import Outcome, Served, check_gapless, serving, until, upstream
from tests.support.harness import failed as failed_outcome
from tests.support.scripted_engine import Call, ScriptedEngine
from tests.support.scripted_vllm import ScriptedVllm, VllmCall
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
    from collections.abc import AsyncIterator, Mapping, Sequence

    from tests.support.fault_rows import Fault
    from tokengrpc.core.ports.ledger import UsageRecord


@dataclass(frozen=True)
class Column:
    """An API of a server's dialect, with the settings of an engine that uses it.

    `dialect` is None for the gRPC service.
    """

    name: str
    dialect: Dialect | None
    api: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def scripted(self) -> ScriptedEngine | ScriptedVllm:
        """Returns a scripted engine of this column, not started yet."""
        return ScriptedVllm() if self.dialect is None else ScriptedEngine(self.dialect)

    def has(self, fault: Fault) -> bool:
        """Returns whether the fault can happen here."""
        if self.dialect is None:
            return fault.grpc is not None
        return fault.steps is not None and self.api not in fault.excluded_apis

    def reported(self, call: Call | VllmCall) -> tuple[int, int] | None:
        """Returns the input and output counts that the engine has reported."""
        if isinstance(call, VllmCall):
            return call.told_usage
        assert self.dialect is not None
        return self.dialect.told(call)


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
    Column(GRPC, None, "grpc", {"kind": "vllm", "api": "auto", "connect_timeout": 1.0}),
)

# Of all HTTP columns: silence after the finish reason is not waited for longer than this.
COMMON: dict[str, Any] = {"usage_timeout": 1.0}

ROWS = [(section, name) for section, faults in SECTIONS.items() for name in faults]


@dataclass(frozen=True)
class Stage:
    """A server with one model, and one scripted engine behind it, for each column."""

    server: Served
    engines: Mapping[str, ScriptedEngine | ScriptedVllm]


@asynccontextmanager
async def staged(fault: Fault, columns: Sequence[Column]) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        engines = {c.name: await stack.enter_async_context(c.scripted()) for c in columns}
        for engine in engines.values():
            if fault.listener == "closed":
                await engine.hang_up()
            elif fault.listener == "full":
                for sock in await engine.go_deaf():
                    stack.enter_context(sock)
        models = [
            upstream(
                engines[c.name].base_url,
                **((COMMON if c.dialect else {}) | {"name": model_of(c), "api": c.api} | dict(c.settings)),
            )
            for c in columns
        ]
        yield Stage(await stack.enter_async_context(serving(*models)), engines)


def model_of(column: Column) -> str:
    return column.name.replace(" ", "-")


@dataclass
class Result:
    """The result of a fault in one column. `received` is the caller's output."""

    outcome: Outcome
    received: str
    call: Call | VllmCall | None

    @property
    def usage(self) -> usage_pb2.Usage:
        return self.outcome.messages[-1].usage

    @property
    def source(self) -> str:
        if not self.outcome.messages:
            return "none"
        return "reported" if self.usage.source == usage_pb2.USAGE_SOURCE_ENGINE else "counted"


@pytest.mark.parametrize(("section", "name"), ROWS, ids=lambda part: part.replace(" ", "-"))
async def test_fault(section: str, name: str) -> None:
    """Each dialect gives the documented code and reason, the text of the engine's log, and correct usage."""
    fault = SECTIONS[section][name]
    columns = [column for column in COLUMNS if column.has(fault)]
    async with asyncio.timeout(30), staged(fault, columns) as stage:
        results = await asyncio.gather(*(provoke(stage, column, fault) for column in columns))
        await until(lambda: stage.server.registry.active == 0, "all permits are released")
        for column in columns:
            await check_released(stage.engines[column.name], fault)
    records = {record.model: record for record in stage.server.ledger.records.values()}
    for column, result in zip(columns, results, strict=True):
        try:
            check(fault, column, result)
            check_ledger(result, records.get(model_of(column)))
        except AssertionError as error:
            raise AssertionError(f"{column.name}: {error}") from error
    seen = {column.name: cells(fault, result) for column, result in zip(columns, results, strict=True)}
    line = page.line(name, apis(columns), seen)
    if page.WRITE_DOCS:
        WRITTEN[section, name] = line
    else:
        assert line in page.lines()[section], f"docs/faults.md lacks this line: {line}"


async def provoke(stage: Stage, column: Column, fault: Fault) -> Result:
    """Runs a generation into the fault and returns what the caller receives."""
    caught_up = CaughtUp()
    engine = stage.engines[column.name]
    steps = fault.grpc if column.dialect is None else fault.steps
    assert steps is not None
    engine.script(*steps(caught_up))
    stream = stage.server.stream(model_of(column), model=model_of(column), **fault.request)
    outcome = Outcome([], grpc.StatusCode.OK, "", {})
    try:
        while (message := await stream.read()) is not grpc.aio.EOF:
            outcome.messages.append(message)
            caught_up.message_count += 1
            caught_up.received += "".join(t.text + t.reasoning_text + t.refusal_text for t in message.tokens)
            caught_up.received += "".join(part.arguments_fragment for part in message.tool_call_fragments)
    except grpc.aio.AioRpcError as error:
        outcome = failed_outcome(error, outcome.messages)
    assert len(engine.calls) == (fault.listener == "open"), "the engine receives one request"
    return Result(outcome, caught_up.received, engine.calls[0] if engine.calls else None)


async def check_released(engine: ScriptedEngine | ScriptedVllm, fault: Fault) -> None:
    """Checks that at most one connection, a reusable one, is open, and none whose response is unfinished."""
    if isinstance(engine, ScriptedVllm):
        await engine.check_released(failed=bool(fault.reason))
        return
    await until(lambda: engine.open_connections <= 1, "the engine's connections are closed")
    if engine.calls and not engine.calls[0].finished.is_set():
        await until(lambda: engine.open_connections == 0, "a stalled connection is closed")


def check(fault: Fault, column: Column, result: Result) -> None:
    """Checks the outcome against the row."""
    outcome, call = result.outcome, result.call
    reason = fault.other_reasons.get(column.name, fault.reason)
    actual = outcome.info.reason if outcome.info else ""
    assert (outcome.code.name, actual) == (CODES[reason].name if reason else "OK", reason), outcome.message
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
    assert result.received == (encodable(call.text) if call else "")
    if outcome.messages and call is not None:
        check_usage(fault, column, result, call)


def check_usage(fault: Fault, column: Column, result: Result, call: Call | VllmCall) -> None:
    """Checks that reported usage equals the engine's log, and that it is used if the generation succeeds."""
    usage, reported = result.usage, column.reported(call)
    if result.source == "reported":
        assert reported is not None
        counts = (usage.input_token_count, usage.output_token_count)
        assert counts == reported
        assert counts == (INPUT_TOKENS, call.token_count)
    elif not fault.reason:
        assert reported is None, "the engine reported its usage, but the server ignored it"


def check_ledger(result: Result, record: UsageRecord | None) -> None:
    """Checks that the ledger has the caller's usage if an engine accepted the request, or else no record."""
    assert (record is not None) == bool(result.outcome.messages)
    if record is not None:
        assert usage_message(record.usage) == result.usage
        assert record.error_reason == (result.outcome.info.reason if result.outcome.info else "")


def apis(columns: Sequence[Column]) -> str:
    """Returns the cell that names the columns which have a fault."""
    names = {column.name for column in columns}
    if len(names) == 1:
        return columns[0].name
    if all(column.api != "completions" for column in columns):
        return "HTTP, all but completions"
    return "all" if GRPC in names else "HTTP"


def cells(fault: Fault, result: Result) -> tuple[str, str]:
    """Returns the cells of docs/faults.md: the outcome, and the source of the usage."""
    outcome = result.outcome
    if outcome.info is None:
        assert outcome.finished is not None
        finish = generation_pb2.FinishReason.Name(outcome.finished.finish_reason)
        return f"OK, {finish.removeprefix('FINISH_REASON_')}", result.source
    clock = f", clock `{fault.clock}`" if fault.clock else ""
    return f"{outcome.code.name} `{outcome.info.reason}`{clock}", result.source


WRITTEN: dict[tuple[str, str], str] = {}


def test_the_page_has_exactly_these_rows() -> None:
    """The page has the rows in their order; `test_fault` compares each line with a run."""
    if page.WRITE_DOCS:
        page.write([column.name for column in COLUMNS if column.dialect], SECTIONS, WRITTEN)
    rows = [(section, name) for section, lines in page.lines().items() for name in map(page.name_of, lines)]
    assert rows == ROWS


def test_there_are_enough_rows() -> None:
    """Every dialect has at least 40 faults."""
    all_faults = [fault for faults in SECTIONS.values() for fault in faults.values()]
    for column in COLUMNS:
        faults = [fault for fault in all_faults if column.has(fault)]
        assert len(faults) >= 40, column.name
