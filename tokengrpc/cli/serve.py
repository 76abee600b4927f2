"""`tokengrpc serve` and `tokengrpc config`: the only commands that know the server."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec import inspect

from tokengrpc.cli import exits
from tokengrpc.cli.output import fail, remark, say
from tokengrpc.cli.target import DEFAULT_TARGET
from tokengrpc.config import ConfigError, Loaded, describe, load_with_origins
from tokengrpc.config.keys import DEFINING_KEYS, KEYS, flag
from tokengrpc.config.messages import bare
from tokengrpc.config.values import CHOICES
from tokengrpc.errors import TokenGrpcError

if TYPE_CHECKING:
    from collections.abc import Callable

EPILOG = (
    "Each flag has a variable: --base-url is TOKENGRPC_BASE_URL. Flags stand above variables, those above "
    "the file, that above the defaults; limits and tenants are set in the file, limits also by "
    "TOKENGRPC_LIMITS_*. `tokengrpc config` shows all of them."
)
SETTINGS = {"epilog": EPILOG}

_METAVARS = {"listen": "HOST:PORT", "base_url": "URL", "api_key_file": "FILE"}


def _takes_settings(command: Callable[..., int]) -> Callable[..., int]:
    """Gives a command, in place of its `**flags`, --config and one flag for each key but the limits'."""
    own = [p for p in signature(command).parameters.values() if p.kind is not Parameter.VAR_KEYWORD]
    keys = [key for key, place in KEYS.items() if place.section != "limits"]
    flags = [
        Parameter(key, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str, _option(key)])
        for key in keys
    ]
    # Typer reads the parameters from here.
    command.__signature__ = Signature([*own, *flags])  # type: ignore[attr-defined] # see above
    return command


def _option(key: str) -> Any:  # noqa: ANN401 - what Typer says it is
    meaning = KEYS[key].meaning
    if key in DEFINING_KEYS:
        meaning += "; with it, one model replaces those of the file"
    place = KEYS[key]
    # A table has too many defaults to show, and a missing switch needs none.
    shown = "" if key in DEFINING_KEYS or place.is_table else place.default
    return typer.Option(
        flag(key),
        metavar=_metavar(key),
        help=f"{meaning[0].upper()}{meaning[1:]}.",
        show_default=str(shown) if shown else False,
    )


def _metavar(key: str) -> str:
    """What a flag takes."""
    if KEYS[key].is_table:
        return "JSON"
    match bare(inspect.type_info(KEYS[key].type)):
        case inspect.LiteralType(values=values):
            return "|".join(map(str, values))
        case inspect.StrType(pattern=str(pattern)) if pattern in CHOICES:
            return "|".join(CHOICES[pattern])
        case inspect.IntType() | inspect.FloatType():
            return "NUMBER"
        case inspect.BoolType():
            return "true|false"
    return _METAVARS.get(key, "NAME")


CONFIG = typer.Option(
    None, "--config", metavar="FILE", help="The TOML file; TOKENGRPC_CONFIG if not given.", show_default=False
)


@_takes_settings
def serve(
    *,
    config: Path = CONFIG,
    hints: bool = typer.Option(False, "--hints", help="Tell what to type next, once it is ready."),
    **flags: str | None,
) -> int:
    """Serve models over gRPC; without any settings, the builtin one on 127.0.0.1:50051.

    Prints `listening on HOST:PORT` once it is ready. SIGTERM or Ctrl-C lets the streams in flight finish.
    """
    loaded = _load(config, flags)
    if loaded is None:
        return exits.USAGE
    # It brings the whole server, which wrong settings need not wait for.
    from tokengrpc.server import run  # noqa: PLC0415 - see above

    try:
        return run(loaded.settings, on_ready=_show_hints if hints else None)
    except ConfigError as error:
        fail(str(error))
        return exits.USAGE
    except TokenGrpcError as error:
        fail(f"{error.reason}: {error.message}")
        return exits.FAILURE


@_takes_settings
def config(*, config: Path = CONFIG, **flags: str | None) -> int:
    """Show the settings that would be in force, and where each comes from; secrets are not shown."""
    loaded = _load(config, flags)
    if loaded is None:
        return exits.USAGE
    say(describe(loaded.settings, loaded.origins))
    return exits.OK


def _load(file: Path | None, flags: dict[str, str | None]) -> Loaded | None:
    try:
        return load_with_origins(file, os.environ, flags)
    except ConfigError as error:
        fail(str(error))
        return None


def _show_hints(address: str) -> None:
    """What a newcomer pastes next, with the real port."""
    host, _, port = address.rpartition(":")
    target = f"127.0.0.1:{port}" if host in {"0.0.0.0", "[::]"} else address  # noqa: S104 - compared only
    program = _program()
    there = "" if target == DEFAULT_TARGET else f" --target {target}"
    question = "What is token streaming?"
    remark(
        f"""
Ask it something, in another terminal:
  {program} stream{there} "{question}"
  grpcurl -plaintext -d '{{"prompt": "{question}"}}' {target} tokenstreaming.v1.TokenStream/StreamTokens
Or serve an engine of your own, such as Ollama:
  {program} serve --base-url http://127.0.0.1:11434/v1 --model llama3.2 --dialect ollama
"""
    )


def _program() -> str:
    """How this program is started in another terminal: not by a PATH that only this one may have."""
    started = Path(sys.argv[0]).absolute()
    if started.name == "__main__.py":
        return f"{_typed(Path(sys.executable))} -m tokengrpc"
    own_environment = started.is_relative_to(Path.cwd())
    return "tokengrpc" if not own_environment and shutil.which("tokengrpc") else _typed(started)


def _typed(program: Path) -> str:
    """A program's path as one types it here."""
    here = Path.cwd()
    return shlex.quote(str(program.relative_to(here) if program.is_relative_to(here) else program))
