"""`tokengrpc serve` and `tokengrpc config`: the only commands that import the server's modules."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
from functools import partial
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec import inspect

from tokengrpc.cli import exits
from tokengrpc.cli.output import terminal_width, write, write_error, write_note
from tokengrpc.cli.target import DEFAULT_TARGET
from tokengrpc.config import ConfigError, Loaded, describe, load, load_with_origins
from tokengrpc.config.keys import DEFINING_KEYS, KEYS, flag
from tokengrpc.config.messages import bare
from tokengrpc.config.values import CHOICES
from tokengrpc.errors import TokenGrpcError

if TYPE_CHECKING:
    from collections.abc import Callable

EPILOG = (
    "Settings are resolved in this order, highest precedence first: command-line flags, TOKENGRPC_* "
    "variables, the TOML file, defaults. Each flag has a variable: --listen is TOKENGRPC_LISTEN. Limits "
    "and tenants are set in the file, limits also with TOKENGRPC_LIMITS_*. `tokengrpc config` shows all "
    "settings."
)
SETTINGS = {"epilog": EPILOG}

_LONGEST_METAVAR = 40
_METAVARS = {
    "listen": "HOST:PORT",
    "admin_listen": "HOST:PORT",
    "admin_grpc_listen": "HOST:PORT",
    "data_dir": "DIRECTORY",
    "ledger": "NAME|URL",
    "base_url": "URL",
    "api_key_file": "FILE",
    "ca_file": "FILE",
    "client_cert_file": "FILE",
    "client_key_file": "FILE",
    "tls_cert_file": "FILE",
    "tls_key_file": "FILE",
    "tls_client_ca_file": "FILE",
    "proxy": "URL",
}


_SWITCHES = {"insecure"}
"""Settings whose flags take no value, because a command line only ever turns them on."""


def _with_setting_flags(command: Callable[..., int]) -> Callable[..., int]:
    """Replaces the `**flags` of a command's signature with one flag per setting, except the limits."""
    own = [p for p in signature(command).parameters.values() if p.kind is not Parameter.VAR_KEYWORD]
    keys = [key for key, place in KEYS.items() if place.section != "limits"]
    flags = [
        Parameter(
            key,
            Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[bool if key in _SWITCHES else str, _option(key)],
        )
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
    # Typer would show it in parentheses, because it is not the option's own default.
    default = f"  [default: {shown}]" if shown else ""
    choices = _choices(key)
    if choices and _metavar(key) != "|".join(choices):
        meaning += f"; one of {', '.join(choices)}"
    return typer.Option(
        flag(key),
        metavar=None if key in _SWITCHES else _metavar(key),
        help=f"{meaning[0].upper()}{meaning[1:]}.{default}",
        show_default=False,
    )


def _metavar(key: str) -> str:
    """Returns the placeholder for a flag's value in the help: its choices, if they are short."""
    if KEYS[key].is_table:
        return "JSON"
    choices = "|".join(_choices(key))
    if choices and len(choices) <= _LONGEST_METAVAR:
        return choices
    match bare(inspect.type_info(KEYS[key].type)):
        case inspect.IntType() | inspect.FloatType():
            return "NUMBER"
        case inspect.BoolType():
            return "true|false"
    return _METAVARS.get(key, "NAME")


def _choices(key: str) -> tuple[str, ...]:
    """Returns the words that a setting allows; empty if it is no choice."""
    match bare(inspect.type_info(KEYS[key].type)):
        case inspect.LiteralType(values=values):
            return tuple(map(str, values))
        case inspect.StrType(pattern=str(pattern)):
            return CHOICES.get(pattern, ())
    return ()


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
    `listening on ADDRESS` once it is ready. After SIGTERM or Ctrl-C, active streams may finish within the
    drain time. SIGHUP reloads tenants, keys, prices and the log level.
    """
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the server can reload
    loaded = _load(config, flags)
    if loaded is None:
        return exits.USAGE
    # Imported after the settings are checked, so that wrong settings are reported without loading the server.
    from tokengrpc.process import run  # noqa: PLC0415 - see above

    try:
        return run(
            loaded.settings,
            on_ready=partial(_show_hints, tls=bool(loaded.settings.tls.cert_file)) if hints else None,
            reread=lambda: load(config, os.environ, flags),
        )
    except ConfigError as error:
        # Only `make run` shows hints by default, and its port is a variable of make.
        with_make = " (make run: PORT=NUMBER)" if hints and str(error).startswith("listen:") else ""
        write_error(f"{error}{with_make}")
        return exits.USAGE
    except TokenGrpcError as error:
        write_error(f"{error.reason}: {error.message}")
        return exits.FAILURE


@_with_setting_flags
def config(*, config: Path = CONFIG, **flags: str | None) -> int:
    """Show the settings and their sources.

    Secrets are not shown.
    """
    loaded = _load(config, flags)
    if loaded is None:
        return exits.USAGE
    write(describe(loaded.settings, loaded.origins, width=terminal_width()))
    return exits.OK


def _load(file: Path | None, flags: dict[str, str | None]) -> Loaded | None:
    try:
        return load_with_origins(file, os.environ, flags)
    except ConfigError as error:
        write_error(str(error))
        return None


def _show_hints(address: str, *, tls: bool) -> None:
    """Prints example commands with the server's real address, ready to paste."""
    host, _, port = address.rpartition(":")
    target = f"127.0.0.1:{port}" if host in {"0.0.0.0", "[::]"} else address  # noqa: S104 - compared only
    program = _program_command()
    target_option = "" if target == DEFAULT_TARGET else f" --target {target}"
    authority, plaintext = (" --ca-file CA.crt", "-cacert CA.crt") if tls else ("", "-plaintext")
    question = "What is token streaming?"
    write_note(
        f"""
Send it a prompt from another terminal:
  {program} stream{target_option}{authority} "{question}"
  grpcurl {plaintext} -d '{{"prompt": "{question}"}}' \\
    {target} tokenstreaming.v1.TokenStream/StreamTokens
Or serve your own engine, such as Ollama:
  {program} serve --base-url http://127.0.0.1:11434/v1 \\
    --model llama3.2 --dialect ollama
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
