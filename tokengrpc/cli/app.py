"""Entry point of `tokengrpc`: runs the named command and reports each failure in one line."""

from __future__ import annotations

import os
import re
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any

import typer

from tokengrpc.cli import exits
from tokengrpc.cli.options import UsageError
from tokengrpc.cli.output import OutputClosed, OutputError, discard_stdout, write_error
from tokengrpc.extras import MissingExtraError, require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

# Any arguments.
_UNCHECKED: dict[str, Any] = {
    "add_help_option": False,
    "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True},
}

# The module of each command, in the order of the help. Modules of client commands never import the server.
COMMANDS = {
    "serve": "serve",
    "stream": "stream",
    "chat": "chat",
    "count": "lookups",
    "models": "lookups",
    "get": "lookups",
    "cancel": "lookups",
    "usage": "usage.command",
    "tenants": "admin.tenants",
    "keys": "admin.keys",
    "probe": "probe",
    "top": "top.command",
    "config": "serve",
}

# Typer's own messages that are long or do not say what to do, and ours instead.
_PLAIN = (
    (r"Value error, ", ""),
    (r"Option '(.+)' requires an argument", r"\1 needs a value"),
    (r"Input should be a valid number, .*", "must be a number"),
    (r"Input should be a valid integer, .*", "must be a whole number"),
    (
        r"Got unexpected extra arguments?(?:\(s\))? \((.+)\)",
        r"Unexpected: \1 (put a text of several words in quotes)",
    ),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command and exits with its exit code; see `exits`."""
    arguments = (sys.argv[1:] if arguments is None else list(arguments)) or ["--help"]
    _open_missing_streams()
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        # Replace characters that cannot be encoded or decoded, instead of failing with a traceback.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    # Silences the gRPC library's own log lines. The commands report its errors themselves.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str]) -> int:
    app = _build_app(arguments[:1] if arguments[0] in COMMANDS else COMMANDS)
    command = typer.main.get_command(app)
    try:
        return command.main(arguments, prog_name="tokengrpc", standalone_mode=False) or exits.OK
    except UsageError as error:
        return _report_usage_error(error, arguments[0])
    except typer.Abort:
        return exits.INTERRUPTED
    except OutputClosed:
        discard_stdout()
        return exits.OUTPUT_CLOSED
    except (OutputError, OSError) as error:
        # OSError is raised when the help, or the first line of `serve`, cannot be written.
        write_error(str(error))
        discard_stdout()
        return exits.FAILURE
    except SystemExit:
        # Typer and Rich raise this for a closed pipe. For help (`--help | head -1`) that is not a failure.
        discard_stdout()
        return exits.OK if {"--help", "--version"} & set(arguments) else exits.OUTPUT_CLOSED


def _open_missing_streams() -> None:
    """Opens the null device for each closed standard stream (`>&-`).

    Otherwise a connection would take the file descriptor. The device is opened read-only, so that writing to
    it fails and lost output is reported.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDONLY), mode, encoding="utf-8"))


def _build_app(names: Iterable[str]) -> typer.Typer:
    """Builds the application with only the named commands, because importing all of them takes time."""
    # Typer's help by Rich cuts words and names types of switches, so the help is plain.
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.callback(epilog=exits.EPILOG)(_root)
    for name in names:
        try:
            require("server" if COMMANDS[name] == "serve" else "cli", f"`tokengrpc {name}`")
        except MissingExtraError as error:
            app.command(name, **_UNCHECKED)(_unavailable(str(error)))
            continue
        module = import_module(f"tokengrpc.cli.{COMMANDS[name]}")
        command = getattr(module, name)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name, **getattr(module, "SETTINGS", {}))(command)
    return app


def _unavailable(message: str) -> Callable[[], int]:
    """Returns a command that only says which extra it needs."""

    def command() -> int:
        write_error(message)
        return exits.FAILURE

    command.__doc__ = f"{message[0].upper()}{message[1:]}"
    return command


def _report_usage_error(error: Exception, first: str) -> int:
    """Reports a usage error in one line and returns the exit code."""
    format_message = getattr(error, "format_message", error.__str__)
    context = getattr(error, "ctx", None)
    # Errors of the parser have no context.
    command = f"tokengrpc {first}" if first in COMMANDS else "tokengrpc"
    path = context.command_path if context else command
    message = str(format_message()).strip()
    for pattern, plain in _PLAIN:
        message = re.sub(pattern, plain, message)
    period = "" if message.endswith((".", "?", "!")) else "."
    write_error(f"{message}{period} See `{path} --help`")
    return int(getattr(error, "exit_code", exits.USAGE))


def _show_version(requested: bool) -> None:
    if requested:
        try:
            typer.echo(f"tokengrpc {version('tokengrpc')}")
        except PackageNotFoundError:
            typer.echo("tokengrpc, version unknown: the package is not installed")
        raise typer.Exit


def _root(
    *,
    show_version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    """Token streaming from language models over gRPC."""
