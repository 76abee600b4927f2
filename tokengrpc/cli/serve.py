"""`tokengrpc serve` and `tokengrpc config`: the only commands that import the server's modules."""

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
from tokengrpc.cli.output import write, write_error, write_note
from tokengrpc.cli.target import DEFAULT_TARGET
from tokengrpc.config import ConfigError, Loaded, describe, load_with_origins
from tokengrpc.config.keys import DEFINING_KEYS, KEYS, flag
from tokengrpc.config.messages import bare
from tokengrpc.config.values import CHOICES
from tokengrpc.errors import TokenGrpcError

if TYPE_CHECKING:
    from collections.abc import Callable

EPILOG = (
    "Settings are resolved in this order, highest precedence first: command-line flags, TOKENGRPC_* "
    "variables, the TOML file, defaults. Each flag has a variable: --base-url is TOKENGRPC_BASE_URL. Limits "
    "and tenants are set in the file, limits also with TOKENGRPC_LIMITS_*. `tokengrpc config` shows all "
    "settings."
)
SETTINGS = {"epilog": EPILOG}

_METAVARS = {
    "listen": "HOST:PORT",
    "base_url": "URL",
    "api_key_file": "FILE",
    "ca_file": "FILE",
    "client_cert_file": "FILE",
    "client_key_file": "FILE",
    "proxy": "URL",
}


def _with_setting_flags(command: Callable[..., int]) -> Callable[..., int]:
    """Replaces the `**flags` of a command's signature with one flag per setting, except the limits."""
    own = [p for p in signature(command).parameters.values() if p.kind is not Parameter.VAR_KEYWORD]
    keys = [key for key, place in KEYS.items() if place.section != "limits"]
    flags = [
        Parameter(key, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str, _option(key)])
        for key in keys
    ]
    # Typer reads the parameters from this attribute.
    command.__signature__ = Signature([*own, *flags])  # type: ignore[attr-defined] # see above
    return command


def _option(key: str) -> Any:  # noqa: ANN401 - typer.Option is typed so
    meaning = KEYS[key].meaning
    if key in DEFINING_KEYS:
        meaning += "; the flags then define one model, which replaces all models of the file"
    place = KEYS[key]
    # A table has too many defaults to show, and a switch that is off by default needs none.
    shown = "" if key in DEFINING_KEYS or place.is_table else place.default
    return typer.Option(
        flag(key),
        metavar=_metavar(key),
        help=f"{meaning[0].upper()}{meaning[1:]}.",
        show_default=str(shown) if shown else False,
    )


def _metavar(key: str) -> str:
    """Returns the placeholder for a flag's value in the help."""
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
    None,
    "--config",
    metavar="FILE",
    help="The TOML file; without it, the file named by TOKENGRPC_CONFIG.",
    show_default=False,
)


@_with_setting_flags
def serve(
    *,
    config: Path = CONFIG,
    hints: bool = typer.Option(
        False, "--hints", help="Show example commands to try once the server is ready."
    ),
    **flags: str | None,
) -> int:
    """Serve models over gRPC.

    Without any settings, serve the builtin model on 127.0.0.1:50051. The command prints
    `listening on HOST:PORT` once it is ready. After SIGTERM or Ctrl-C, active streams may finish within the
    drain time.
    """
    loaded = _load(config, flags)
    if loaded is None:
        return exits.USAGE
    # Imported after the settings are checked, so that wrong settings are reported without loading the server.
    from tokengrpc.process import run  # noqa: PLC0415 - see above

    try:
        return run(loaded.settings, on_ready=_show_hints if hints else None)
    except ConfigError as error:
        write_error(str(error))
        return exits.USAGE
    except TokenGrpcError as error:
        write_error(f"{error.reason}: {error.message}")
        return exits.FAILURE


@_with_setting_flags
def config(*, config: Path = CONFIG, **flags: str | None) -> int:
    """Show the effective settings and their sources.

    Secrets are not shown.
    """
    loaded = _load(config, flags)
    if loaded is None:
        return exits.USAGE
    write(describe(loaded.settings, loaded.origins))
    return exits.OK


def _load(file: Path | None, flags: dict[str, str | None]) -> Loaded | None:
    try:
        return load_with_origins(file, os.environ, flags)
    except ConfigError as error:
        write_error(str(error))
        return None


def _show_hints(address: str) -> None:
    """Prints example commands with the server's real address, ready to paste."""
    host, _, port = address.rpartition(":")
    target = f"127.0.0.1:{port}" if host in {"0.0.0.0", "[::]"} else address  # noqa: S104 - compared only
    program = _program_command()
    target_option = "" if target == DEFAULT_TARGET else f" --target {target}"
    question = "What is token streaming?"
    write_note(
        f"""
Send it a prompt from another terminal:
  {program} stream{target_option} "{question}"
  grpcurl -plaintext -d '{{"prompt": "{question}"}}' {target} tokenstreaming.v1.TokenStream/StreamTokens
Or serve your own engine, such as Ollama:
  {program} serve --base-url http://127.0.0.1:11434/v1 --model llama3.2 --dialect ollama
"""
    )


def _program_command() -> str:
    """Returns the command that starts this program in another terminal, whose PATH may differ."""
    program = Path(sys.argv[0]).absolute()
    if program.name == "__main__.py":
        return f"{_display_path(Path(sys.executable))} -m tokengrpc"
    # A program below the current directory is probably in a virtual environment that only this PATH has.
    in_local_environment = program.is_relative_to(Path.cwd())
    return "tokengrpc" if not in_local_environment and shutil.which("tokengrpc") else _display_path(program)


def _display_path(program: Path) -> str:
    """Returns a program's path, quoted for a shell. Below the current directory, the path is relative."""
    directory = Path.cwd()
    return shlex.quote(str(program.relative_to(directory) if program.is_relative_to(directory) else program))
