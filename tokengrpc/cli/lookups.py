"""`tokengrpc count`, `models`, `get` and `cancel`: commands that make one unary call."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

from tokenstreaming.v1 import generation_pb2, model_pb2, usage_pb2

from tokengrpc.cli import options
from tokengrpc.cli.output import write, write_json
from tokengrpc.cli.prompt import build_input, read_prompt
from tokengrpc.cli.session import Server, interruptible, run
from tokengrpc.cli.summary import SOURCES, tokens
from tokengrpc.client.names import short_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_UNLIMITED_WIDTH = 10_000


def count(
    prompt: str = options.PROMPT,
    *,
    target: str = options.TARGET,
    token_env: str = options.TOKEN_ENV,
    model: str = options.MODEL,
    raw: bool = options.RAW,
    system: str = options.SYSTEM,
    json: bool = options.JSON,
) -> int:
    """Count the input tokens of a prompt.

    These are the tokens that a generation would be billed for. Nothing is generated.
    """
    source = build_input(read_prompt(prompt), system=system, raw=raw)

    async def call_server() -> int:
        async with server.connect() as client:
            response = await interruptible(client.count(source, model=model or ""))
        if json:
            write_json(response)
        else:
            source_name = short_name(usage_pb2.UsageSource, response.source, "USAGE_SOURCE_").lower()
            write(f"{tokens(response.input_token_count)}, {source_name} for {response.model}", end="\n")
        return 0

    server = Server(target, token_env)
    return run(call_server(), server)


def models(
    *, target: str = options.TARGET, token_env: str = options.TOKEN_ENV, json: bool = options.JSON
) -> int:
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

    server = Server(target, token_env)
    return run(call_server(), server)


def get(
    generation_id: str = options.GENERATION_ID,
    *,
    target: str = options.TARGET,
    token_env: str = options.TOKEN_ENV,
    json: bool = options.JSON,
) -> int:
    """Show a generation: state, usage, events, outcome."""
    return _show_generation(generation_id, Server(target, token_env), cancel=False, json=json)


def cancel(
    generation_id: str = options.GENERATION_ID,
    *,
    target: str = options.TARGET,
    token_env: str = options.TOKEN_ENV,
    json: bool = options.JSON,
) -> int:
    """Cancel a generation for all its readers.

    The command shows the cancelled generation. A generation that has already ended is only shown.
    """
    return _show_generation(generation_id, Server(target, token_env), cancel=True, json=json)


def _show_generation(generation_id: str, server: Server, *, cancel: bool, json: bool) -> int:
    async def call_server() -> int:
        async with server.connect() as client:
            call = client.cancel if cancel else client.get
            generation = await interruptible(call(generation_id))
        if json:
            write_json(generation)
        else:
            for name, value in _fields(generation):
                write(f"{name:<14}{value}", end="\n")
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
    if usage.source in SOURCES:
        yield "counts", SOURCES[usage.source]
    yield "events", f"{generation.first_kept_sequence} to {generation.last_sequence}"
    yield "readers", str(generation.reader_count)
    for name in ("create", "start", "first_token", "end"):
        if generation.HasField(f"{name}_time"):
            time = getattr(generation, f"{name}_time")
            yield name.replace("_", " "), time.ToJsonString()
    for key, value in sorted(generation.labels.items()):
        yield f"label {key}", value


def _show_models(found: Sequence[model_pb2.Model]) -> None:
    """Prints a table of models, with the capabilities below each row, wrapped to the terminal's width."""
    table = [("model", "engines", "context", "tokenizer"), *map(_row, found)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _UNLIMITED_WIDTH
    for number, row in enumerate(table):
        cells = (cell.ljust(wide) for cell, wide in zip(row, widths, strict=True))
        write("  ".join(cells).rstrip(), end="\n")
        if number:
            for line in textwrap.wrap(_capabilities(found[number - 1]), max(width - 2, 20)):
                write(f"  {line}", end="\n")


def _row(model: model_pb2.Model) -> tuple[str, str, str, str]:
    return (
        model.name + (" (default)" if model.is_default else ""),
        ", ".join(f"{engine.name} ({engine.kind}, {_health(engine)})" for engine in model.engines),
        str(model.context_token_count or "unknown"),
        model.tokenizer or "estimated",
    )


def _health(engine: model_pb2.ModelEngine) -> str:
    if engine.health == model_pb2.ENGINE_HEALTH_UNSPECIFIED:
        return "not checked yet"
    return short_name(model_pb2.EngineHealth, engine.health, "ENGINE_HEALTH_").lower()


def _capabilities(model: model_pb2.Model) -> str:
    names = [
        short_name(model_pb2.Capability, capability, "CAPABILITY_").lower()
        for capability in model.capabilities
    ]
    return f"capabilities: {' '.join(names)}"
