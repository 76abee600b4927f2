"""The `tokengrpc` command: finds the command that is meant, and tells failures in one line."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from io import TextIOWrapper
from typing import TYPE_CHECKING, Literal

import typer

from tokengrpc.cli import exits
from tokengrpc.cli.options import UsageError
from tokengrpc.cli.output import NobodyReads, OutputError, drop_stdout, fail, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Where each command lives, in the order of the help. A client's command never imports the server.
COMMANDS = {
    "serve": "serve",
    "stream": "stream",
    "chat": "chat",
    "count": "lookups",
    "models": "lookups",
    "get": "lookups",
    "cancel": "lookups",
    "probe": "probe",
    "config": "serve",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command and exits with its code; see `exits`."""
    arguments = (sys.argv[1:] if arguments is None else list(arguments)) or ["--help"]
    _open_missing_streams()
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        # A character that cannot be shown or read becomes another one instead of a traceback.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    # The gRPC library writes its own lines beside ours; its errors are told by ours.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str]) -> int:
    app = _app(arguments[:1] if arguments[0] in COMMANDS else COMMANDS)
    command = typer.main.get_command(app)
    try:
        return command.main(arguments, prog_name="tokengrpc", standalone_mode=False) or exits.OK
    except UsageError as error:
        return _told(error)
    except (KeyboardInterrupt, typer.Abort):
        return exits.INTERRUPTED
    except NobodyReads:
        drop_stdout()
        return exits.NOBODY_READS
    except (OutputError, OSError) as error:
        # The latter where a help, or what a server says first, cannot be written.
        fail(str(error))
        drop_stdout()
        return exits.FAILURE
    except SystemExit:
        # Typer and Rich make it of a closed pipe; whoever reads a help may have seen enough (`| head -1`).
        drop_stdout()
        return exits.OK if {"--help", "--version"} & set(arguments) else exits.NOBODY_READS


def _open_missing_streams() -> None:
    """Gives a standard stream that was closed (`>&-`) a device, lest a connection takes its number.

    None can be written to: what a person asked for must not be lost without a word.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDONLY), mode, encoding="utf-8"))


def _app(names: Iterable[str]) -> typer.Typer:
    """The application with these commands alone: importing all of them takes time."""
    # Without Rich the help has no styles.
    markup: Literal["rich"] | None = None if plain() else "rich"
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=markup)
    app.callback(epilog=exits.EPILOG)(_root)
    for name in names:
        module = import_module(f"tokengrpc.cli.{COMMANDS[name]}")
        command = getattr(module, name)
        app.command(name, **getattr(module, "SETTINGS", {}))(command)
    return app


def _told(error: Exception) -> int:
    """Tells wrong usage in one line."""
    show = getattr(error, "format_message", error.__str__)
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "tokengrpc"
    message = str(show()).strip()
    stop = "" if message.endswith((".", "?", "!")) else "."
    fail(f"{message}{stop} See `{path} --help`")
    return int(getattr(error, "exit_code", exits.USAGE))


def _show_version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(f"tokengrpc {version('tokengrpc')}")
        except PackageNotFoundError:
            typer.echo("tokengrpc, not installed")
        raise typer.Exit


def _root(
    *,
    show_version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    """Token streaming from language models over gRPC."""
