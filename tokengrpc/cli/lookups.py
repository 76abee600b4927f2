"""`tokengrpc count`, `models`, `get` and `cancel`: one question, one answer."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

from tokenstreaming.v1 import generation_pb2, model_pb2, usage_pb2

from tokengrpc.cli import options
from tokengrpc.cli.output import say, say_message
from tokengrpc.cli.prompt import as_input, read_prompt
from tokengrpc.cli.session import Server, interruptible, run
from tokengrpc.cli.summary import SOURCES, tokens
from tokengrpc.client.names import short_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_UNBOUNDED = 10_000


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
    """Count the input tokens that a prompt would be billed for; nothing is generated."""
    source = as_input(read_prompt(prompt), system=system, raw=raw)

    async def ask() -> int:
        async with server.connect() as client:
            answer = await interruptible(client.count(source, model=model or ""))
        if json:
            say_message(answer)
        else:
            source_name = short_name(usage_pb2.UsageSource, answer.source, "USAGE_SOURCE_").lower()
            say(f"{tokens(answer.input_token_count)}, {source_name} for {answer.model}", end="\n")
        return 0

    server = Server(target, token_env)
    return run(ask(), server)


def models(
    *, target: str = options.TARGET, token_env: str = options.TOKEN_ENV, json: bool = options.JSON
) -> int:
    """List the models that you may use."""

    async def ask() -> int:
        async with server.connect() as client:
            found = await interruptible(client.models())
        if json:
            for model in found:
                say_message(model)
        else:
            _show_models(found)
        return 0

    server = Server(target, token_env)
    return run(ask(), server)


def get(
    generation_id: str = options.GENERATION_ID,
    *,
    target: str = options.TARGET,
    token_env: str = options.TOKEN_ENV,
    json: bool = options.JSON,
) -> int:
    """Show what is known of a generation: state, usage, kept events, outcome."""
    return _generation(generation_id, Server(target, token_env), cancel=False, json=json)


def cancel(
    generation_id: str = options.GENERATION_ID,
    *,
    target: str = options.TARGET,
    token_env: str = options.TOKEN_ENV,
    json: bool = options.JSON,
) -> int:
    """Stop a generation for all its readers; one that had ended is shown as it is."""
    return _generation(generation_id, Server(target, token_env), cancel=True, json=json)


def _generation(generation_id: str, server: Server, *, cancel: bool, json: bool) -> int:
    async def ask() -> int:
        async with server.connect() as client:
            call = client.cancel if cancel else client.get
            generation = await interruptible(call(generation_id))
        if json:
            say_message(generation)
        else:
            for name, value in _facts(generation):
                say(f"{name:<14}{value}", end="\n")
        return 0

    return run(ask(), server)


def _facts(generation: generation_pb2.Generation) -> Iterator[tuple[str, str]]:
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
    """A table, each row followed by what the model can, on lines of its own."""
    table = [("model", "engines", "context", "tokenizer"), *map(_row, found)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _UNBOUNDED
    for number, row in enumerate(table):
        cells = (cell.ljust(wide) for cell, wide in zip(row, widths, strict=True))
        say("  ".join(cells).rstrip(), end="\n")
        if number:
            for line in textwrap.wrap(_abilities(found[number - 1]), max(width - 2, 20)):
                say(f"  {line}", end="\n")


def _row(model: model_pb2.Model) -> tuple[str, str, str, str]:
    return (
        model.name + (" (default)" if model.is_default else ""),
        ", ".join(f"{engine.name} ({engine.kind}, {_health(engine)})" for engine in model.engines),
        str(model.context_token_count or "unknown"),
        model.tokenizer or "estimated",
    )


def _health(engine: model_pb2.ModelEngine) -> str:
    if engine.health == model_pb2.ENGINE_HEALTH_UNSPECIFIED:
        return "not asked yet"
    return short_name(model_pb2.EngineHealth, engine.health, "ENGINE_HEALTH_").lower()


def _abilities(model: model_pb2.Model) -> str:
    names = [short_name(model_pb2.Capability, can, "CAPABILITY_").lower() for can in model.capabilities]
    return f"can: {' '.join(names)}"
