"""`tokengrpc count`, `models`, `get` and `cancel`: commands that make one unary call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import wcwidth
from tokenstreaming.v1 import generation_pb2, model_pb2, usage_pb2

from tokengrpc.cli import options
from tokengrpc.cli.endpoint import Endpoint, with_endpoint
from tokengrpc.cli.output import terminal_width, write, write_json
from tokengrpc.cli.prompt import build_input, read_prompt
from tokengrpc.cli.session import Server, interruptible, run
from tokengrpc.cli.summary import money, short_source, tokens
from tokengrpc.client.names import short_name
from tokengrpc.escaping import escape_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SOURCES = {
    usage_pb2.USAGE_SOURCE_ENGINE: "reported by the engine",
    usage_pb2.USAGE_SOURCE_COUNTED: "counted",
    usage_pb2.USAGE_SOURCE_ESTIMATED: "estimated",
}
# Columns that a wrapped value has at least, however narrow the terminal.
_LEAST_WIDTH = 20


@with_endpoint
def count(
    prompt: str = options.PROMPT,
    *,
    endpoint: Endpoint,
    model: str = options.MODEL,
    raw: bool = options.RAW,
    system: str = options.SYSTEM,
    json: bool = options.JSON,
) -> int:
    """Count the input tokens of a prompt.

    These are the tokens that a generation would be billed for. Nothing is generated. With - or a pipe, PROMPT
    is read from stdin.
    """
    source = build_input(read_prompt(prompt), system=system, raw=raw)

    async def call_server() -> int:
        async with server.connect() as client:
            response = await interruptible(client.count(source, model=model or ""))
        if json:
            write_json(response)
        else:
            source_name = short_source(response.source)
            model_name = escape_line(response.model)
            write(f"{tokens(response.input_token_count)}, {source_name} for {model_name}", end="\n")
        return 0

    server = Server(endpoint)
    return run(call_server(), server)


@with_endpoint
def models(*, endpoint: Endpoint, json: bool = options.JSON) -> int:
    """List the models that you may use."""

    async def call_server() -> int:
        async with server.connect() as client:
            found = await interruptible(client.models())
        if json:
            for model in found:
                write_json(model)
        else:
            _show_models(found)
        return 0

    server = Server(endpoint)
    return run(call_server(), server)


@with_endpoint
def get(
    generation_id: str = options.GENERATION_ID,
    *,
    endpoint: Endpoint,
    json: bool = options.JSON,
) -> int:
    """Show a generation: state, usage and outcome.

    ID is the generation's id, which `tokengrpc stream` prints.
    """
    return _show_generation(generation_id, Server(endpoint), cancel=False, json=json)


@with_endpoint
def cancel(
    generation_id: str = options.GENERATION_ID,
    *,
    endpoint: Endpoint,
    json: bool = options.JSON,
) -> int:
    """Cancel a generation for all its readers.

    ID is the generation's id. The command shows the cancelled generation. A generation that has already ended
    is only shown.
    """
    return _show_generation(generation_id, Server(endpoint), cancel=True, json=json)


def _show_generation(generation_id: str, server: Server, *, cancel: bool, json: bool) -> int:
    async def call_server() -> int:
        async with server.connect() as client:
            call = client.cancel if cancel else client.get
            generation = await interruptible(call(generation_id))
        if json:
            write_json(generation)
        else:
            for name, value in _fields(generation):
                _show_field(f"{escape_line(name):<14}", value)
        return 0

    return run(call_server(), server)


def _fields(generation: generation_pb2.Generation) -> Iterator[tuple[str, str]]:
    usage = generation.usage
    yield "generation", generation.generation_id
    yield "model", generation.model
    if generation.engine:
        yield "engine", generation.engine
    yield "state", short_name(generation_pb2.GenerationState, generation.state, "GENERATION_STATE_")
    if generation.HasField("finished"):
        finished = generation.finished
        yield (
            "finish reason",
            short_name(generation_pb2.FinishReason, finished.finish_reason, "FINISH_REASON_"),
        )
        if finished.status.message:
            yield "error", finished.status.message
    yield "input", tokens(usage.input_token_count)
    yield "output", tokens(usage.output_token_count)
    if usage.overhead_token_count:
        yield "overhead", tokens(usage.overhead_token_count)
    if usage.source in _SOURCES:
        yield "counts", _SOURCES[usage.source]
    if generation.finished.HasField("cost"):
        cost = generation.finished.cost
        yield "cost", money(cost.amount_micros, cost.currency)
    yield "events", f"{generation.first_kept_sequence} to {generation.last_sequence}"
    yield "readers", str(generation.reader_count)
    for name in ("create", "start", "first_token", "end"):
        if generation.HasField(f"{name}_time"):
            time = getattr(generation, f"{name}_time")
            yield name.replace("_", " "), time.ToJsonString()
    for key, value in sorted(generation.labels.items()):
        yield f"label {key}", value


def _show_models(found: Sequence[model_pb2.Model]) -> None:
    """Prints a table of models, with the engines and capabilities below each row."""
    rows = (tuple(map(escape_line, _row(model))) for model in found)
    table = [("model", "context", "tokenizer"), *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for number, row in enumerate(table):
        cells = (cell.ljust(wide) for cell, wide in zip(row, widths, strict=True))
        write("  ".join(cells).rstrip(), end="\n")
        if number:
            _show_field("  engines: ", _engines(found[number - 1]))
            _show_field("  capabilities: ", _capabilities(found[number - 1]))


def _show_field(name: str, value: str) -> None:
    """Prints a value after its name. On a terminal, it is wrapped, with further lines below the value."""
    width = terminal_width()
    lines = [escape_line(value)]
    if width is not None:
        lines = wcwidth.wrap(lines[0], max(width - len(name), _LEAST_WIDTH)) or lines
    write(f"{name}{lines[0]}", end="\n")
    for line in lines[1:]:
        write(f"{' ' * len(name)}{line}", end="\n")


def _row(model: model_pb2.Model) -> tuple[str, str, str]:
    return (
        model.name + (" (default)" if model.is_default else ""),
        str(model.context_token_count or "unknown"),
        model.tokenizer or "estimated",
    )


def _engines(model: model_pb2.Model) -> str:
    return ", ".join(f"{engine.name} ({engine.kind}, {_health(engine)})" for engine in model.engines)


def _health(engine: model_pb2.ModelEngine) -> str:
    if engine.health == model_pb2.ENGINE_HEALTH_UNSPECIFIED:
        return "not checked yet"
    return short_name(model_pb2.EngineHealth, engine.health, "ENGINE_HEALTH_").lower()


def _capabilities(model: model_pb2.Model) -> str:
    names = [
        short_name(model_pb2.Capability, capability, "CAPABILITY_").lower()
        for capability in model.capabilities
    ]
    return " ".join(names)
