"""Runs the part of a command that calls a server: connects, handles Ctrl-C, reports failures."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import typer

from tokengrpc.cli import exits
from tokengrpc.cli.output import write_error
from tokengrpc.cli.target import unreachable
from tokengrpc.client import ResumePolicy, TokenStreamClient, TokenStreamError
from tokengrpc.client.channel import channel_options
from tokengrpc.client.errors import strip_advice

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

T = TypeVar("T")

# A rejection is not retried, because the user should see it immediately and decide.
POLICY = ResumePolicy(retry_attempts=0)


class ServerUnreachable(Exception):
    """Target that does not answer with gRPC. `details` is the gRPC library's own message."""

    def __init__(self, target: str, details: str) -> None:
        super().__init__(unreachable(target, details))


class Interrupted(Exception):
    """Command that SIGINT or SIGTERM stopped. `exit_code` is 128 plus the signal's number."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.exit_code = 128 + signal_number


@dataclass(frozen=True, slots=True)
class Server:
    """Address of a server, and the name of the environment variable that holds the caller's token."""

    target: str
    token_env: str

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[TokenStreamClient]:
        """Yields a connected client and closes it at the end.

        Raises ServerUnreachable after the first failed connection attempt. The client alone would retry.
        """
        async with TokenStreamClient(self.target, token=self._token(), policy=POLICY) as client:
            await interruptible(self._wait_until_connected())
            yield client

    async def _wait_until_connected(self) -> None:
        """Waits for a connection. The client reuses it, because gRPC shares one between equal channels."""
        async with grpc.aio.insecure_channel(self.target, channel_options()) as channel:
            while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
                if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                    await self._raise_cause(channel)
                    return
                await channel.wait_for_state_change(state)

    async def _raise_cause(self, channel: grpc.aio.Channel) -> None:
        """Makes a call and raises ServerUnreachable if the call fails with UNAVAILABLE.

        The call is needed because its error contains the cause, and the channel's state does not.
        """
        try:
            await channel.unary_unary("/grpc.health.v1.Health/Check", bytes, bytes)(b"")
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                raise ServerUnreachable(self.target, error.details() or "") from None

    def _token(self) -> str | None:
        """Returns the token. Raises BadParameter if the variable is unset and is not the default one."""
        token = os.environ.get(self.token_env)
        if not token and self.token_env != "TOKENGRPC_TOKEN":  # noqa: S105 - a variable's name
            raise typer.BadParameter(
                f"the environment variable {self.token_env} is not set", param_hint="--token-env"
            )
        return token or None


def run(work: Coroutine[Any, Any, int], server: Server) -> int:
    """Runs a command's work and returns its exit code. Failures are reported in one line."""
    try:
        return asyncio.run(work)
    except TokenStreamError as error:
        write_error(error_line(error, server.target))
        return exits.FAILURE
    except ServerUnreachable as error:
        write_error(str(error))
        return exits.FAILURE
    except Interrupted as interrupted:
        return interrupted.exit_code
    except KeyboardInterrupt:
        return exits.INTERRUPTED


def error_line(error: TokenStreamError, target: str) -> str:
    """Returns a failure in one line: code, reason, what happened, what to do."""
    if error.code is grpc.StatusCode.UNAVAILABLE and not error.reason and not error.last_sequence:
        return unreachable(target, error.message)
    if error.code is grpc.StatusCode.UNAUTHENTICATED:
        hint = "set TOKENGRPC_TOKEN to your key, or name another variable with --token-env"
        return f"{error.code.name}: {strip_advice(error.message)}; {hint}"
    code = f"{error.code.name} " if error.reason not in {"", error.code.name} else ""
    return f"{code}{error}"


async def interruptible(work: Coroutine[Any, Any, T]) -> T:
    """Runs `work`. SIGINT (Ctrl-C) or SIGTERM cancels it and raises Interrupted once it has cleaned up.

    A second signal ends the process without waiting for the cleanup.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    received: list[int] = []

    def stop(number: int) -> None:
        received.append(number)
        remove_handlers()
        task.cancel()

    def remove_handlers() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        if received:
            raise Interrupted(received[0]) from None
        raise
    finally:
        remove_handlers()
