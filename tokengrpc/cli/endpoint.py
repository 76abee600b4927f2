"""The server that a client command calls: its address, whether it has TLS, and the caller's token."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import typer

from tokengrpc.cli.target import DEFAULT_TARGET, check_target
from tokengrpc.client import tls_credentials
from tokengrpc.client.channel import channel_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.client.channel import Token

_TOKEN_VARIABLE = "TOKENGRPC_TOKEN"  # noqa: S105 - a variable's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Address of a server, and how to connect to it: with credentials, or in plaintext."""

    target: str
    token_env: str = _TOKEN_VARIABLE
    token_file: str = ""
    credentials: grpc.ChannelCredentials | None = None

    @property
    def has_tls(self) -> bool:
        """Whether the connection is made with TLS."""
        return self.credentials is not None

    def channel(self) -> grpc.Channel:
        """Opens a blocking channel."""
        if self.credentials is None:
            return grpc.insecure_channel(self.target)
        return grpc.secure_channel(self.target, self.credentials)

    def aio_channel(self) -> grpc.aio.Channel:
        """Opens a channel with the options of the client."""
        if self.credentials is None:
            return grpc.aio.insecure_channel(self.target, channel_options())
        return grpc.aio.secure_channel(self.target, self.credentials, channel_options())

    def token(self) -> Token:
        """Returns the token, or a function that reads it from the file for each call.

        Raises BadParameter if the file has none, or if the variable is unset and is not the default one.
        """
        if self.token_file:
            _read_token(self.token_file)
            return functools.partial(_read_token, self.token_file)
        token = os.environ.get(self.token_env)
        if not token and self.token_env != _TOKEN_VARIABLE:
            raise typer.BadParameter(
                f"the environment variable {self.token_env} is not set", param_hint="--token-env"
            )
        if token and (why := _mistake(token)):
            raise typer.BadParameter(
                f"the environment variable {self.token_env} {why}", param_hint="--token-env"
            )
        return token or None


def _read_token(file: str) -> str:
    """Reads a token from a file. Raises BadParameter if there is none."""
    try:
        token = Path(file).read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        raise typer.BadParameter(
            f"{file} cannot be read: {error.strerror}", param_hint="--token-file"
        ) from None
    if why := _mistake(token):
        raise typer.BadParameter(f"{file} {why}", param_hint="--token-file")
    return token


def _mistake(token: str) -> str:
    """Returns why a text cannot be a token; empty if it can."""
    if not token:
        return "is empty"
    if not token.isprintable():
        return "has a line break or another control character"
    if not token.isascii():
        return "has a character that is not ASCII, so it is no token: copy the token again"
    if token.lower().startswith("bearer "):
        return "begins with `Bearer`: leave that out, it is sent before the token anyway"
    return ""


def _file(flag: str, meaning: str) -> Any:  # noqa: ANN401 - typer.Option is typed so
    return typer.Option("", flag, envvar=_variable(flag), metavar="FILE", help=meaning, show_default=False)


def _variable(flag: str) -> str:
    return f"TOKENGRPC_TARGET{flag.removeprefix('-').replace('-', '_').upper()}"


_OPTIONS: dict[str, tuple[type[str | bool], Any]] = {
    "target": (
        str,
        typer.Option(
            DEFAULT_TARGET,
            "--target",
            envvar="TOKENGRPC_TARGET",
            metavar="HOST:PORT",
            callback=check_target,
            help="The server's address, or a gRPC target such as dns:///name:50051 or unix:/path.",
        ),
    ),
    "tls": (
        bool,
        typer.Option(
            False,
            "--tls",
            envvar=_variable("--tls"),
            help="Connect with TLS. The following files, all in PEM form, do so as well.",
        ),
    ),
    "ca_file": (str, _file("--ca-file", "The authorities to trust; without it, those of the system.")),
    "cert_file": (str, _file("--cert-file", "Your own certificate, if the server requires one.")),
    "key_file": (str, _file("--key-file", "Its unencrypted key; without it, in the certificate's file.")),
    "token_env": (
        str,
        typer.Option(
            _TOKEN_VARIABLE,
            "--token-env",
            metavar="NAME",
            help="The environment variable that holds your token, if the server requires one.",
        ),
    ),
    "token_file": (
        str,
        typer.Option(
            "",
            "--token-file",
            envvar="TOKENGRPC_TOKEN_FILE",
            metavar="FILE",
            help="A file with your token instead, read again for each call.",
            show_default=False,
        ),
    ),
}


def with_endpoint(command: Callable[..., int]) -> Callable[..., int]:
    """Replaces a command's parameter `endpoint` with the options that describe one."""
    return _with_options(command, list(_OPTIONS))


def with_open_endpoint(command: Callable[..., int]) -> Callable[..., int]:
    """Does what `with_endpoint` does, for a command that needs no token."""
    return _with_options(command, [name for name in _OPTIONS if not name.startswith("token_")])


def _with_options(command: Callable[..., int], names: list[str]) -> Callable[..., int]:
    @functools.wraps(command)
    def wrapped(*arguments: Any, **given: Any) -> int:  # noqa: ANN401 - whatever the command takes
        chosen = {name: given.pop(name) for name in names}
        return command(*arguments, endpoint=_endpoint(**chosen), **given)

    own = [parameter for parameter in signature(command).parameters.values() if parameter.name != "endpoint"]
    arguments = [parameter for parameter in own if parameter.kind is not Parameter.KEYWORD_ONLY]
    added = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=option, annotation=kind)
        for name, (kind, option) in _OPTIONS.items()
        if name in names
    ]
    # Typer reads the parameters from this attribute.
    wrapped.__signature__ = Signature([*arguments, *added, *own[len(arguments) :]])  # type: ignore[attr-defined] # see above
    return wrapped


def _endpoint(
    *,
    target: str,
    tls: bool,
    ca_file: str,
    cert_file: str,
    key_file: str,
    token_env: str = _TOKEN_VARIABLE,
    token_file: str = "",
) -> Endpoint:
    """Returns the endpoint. Raises BadParameter for a file that cannot be used."""
    if not (tls or ca_file or cert_file or key_file):
        return Endpoint(target=target, token_env=token_env, token_file=token_file)
    try:
        credentials = tls_credentials(ca_file=ca_file, cert_file=cert_file, key_file=key_file)
    except ValueError as error:
        name, _, message = str(error).partition(": ")
        flag = f"--{name.replace('_', '-')}"
        raise typer.BadParameter(message, param_hint=f"{flag} (or {_variable(flag)})") from None
    return Endpoint(target=target, token_env=token_env, token_file=token_file, credentials=credentials)
