"""`tokengrpc count`, `models`, `get` and `cancel`: one question, one answer."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tokenstreaming.v1 import generation_pb2, model_pb2, usage_pb2

from tokengrpc.cli import options
from tokengrpc.cli.output import say, say_message
from tokengrpc.cli.prompt import as_input, read_prompt
from tokengrpc.cli.session import Server, interruptible, run
from tokengrpc.cli.summary import tokens

_UNBOUNDED = 10_000

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def count(
    prompt: str = options.PROMPT,
    *,
    target: str = options.TARGET,
    token_env: str = options.TOKEN_ENV,
    model: str = options.MODEL,
    chat: bool = options.CHAT,
    system: str = options.SYSTEM,
    json: bool = options.JSON,
) -> int:
    """Count the input tokens that a prompt would be billed for; nothing is generated."""
    source = as_input(read_prompt(prompt), system=system, chat=chat)

    async def ask() -> int:
        async with server.connect() as client:
            answer = await interruptible(client.count(source, model=model or ""))
        if json:
            say_message(answer)
        else:
            source_name = usage_pb2.UsageSource.Name(answer.source).removeprefix("USAGE_SOURCE_").lower()
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
    yield "state", generation_pb2.GenerationState.Name(generation.state).removeprefix("GENERATION_STATE_")
    if generation.HasField("finished"):
        finished = generation.finished
        reason = generation_pb2.FinishReason.Name(finished.finish_reason).removeprefix("FINISH_REASON_")
        yield "finish reason", reason
        if finished.status.message:
            yield "error", finished.status.message
    yield "input", tokens(usage.input_token_count)
    yield "output", tokens(usage.output_token_count)
    yield "events", f"{generation.first_kept_sequence} to {generation.last_sequence}"
    yield "readers", str(generation.reader_count)
    for name in ("create", "start", "first_token", "end"):
        if generation.HasField(f"{name}_time"):
            time = getattr(generation, f"{name}_time")
            yield name.replace("_", " "), time.ToJsonString()
    for key, value in sorted(generation.labels.items()):
        yield f"label {key}", value


def _show_models(found: Sequence[model_pb2.Model]) -> None:
    """A table; as wide as its text needs where nobody looks at it."""
    # It takes 60 ms to import, and the other commands do without.
    from rich.console import Console  # noqa: PLC0415 - see above
    from rich.table import Table  # noqa: PLC0415 - see above
    from rich.text import Text  # noqa: PLC0415 - see above

    table = Table("model", "engines", "context", "tokenizer", "can", box=None, pad_edge=False)
    for model in found:
        engines = ", ".join(
            f"{engine.name} ({engine.kind}, {model_pb2.EngineHealth.Name(engine.health)[14:].lower()})"
            for engine in model.engines
        )
        table.add_row(
            *map(
                Text,
                (
                    model.name + (" (default)" if model.is_default else ""),
                    engines,
                    str(model.context_token_count or "unknown"),
                    model.tokenizer or "estimated",
                    " ".join(model_pb2.Capability.Name(can)[11:].lower() for can in model.capabilities),
                ),
            )
        )
    Console(width=None if sys.stdout.isatty() else _UNBOUNDED).print(table)
