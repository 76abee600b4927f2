"""Runs the part of a command that talks to a server: connects, listens for Ctrl-C, tells failures."""

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
from tokengrpc.cli.output import fail
from tokengrpc.cli.target import unreachable
from tokengrpc.client import ResumePolicy, TokenStreamClient, TokenStreamError
from tokengrpc.client.channel import channel_options
from tokengrpc.client.errors import without_advice

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

T = TypeVar("T")

# A person sees a refusal at once, and decides.
POLICY = ResumePolicy(retry_attempts=0)


class NoServer(Exception):
    """Nothing at a target speaks gRPC; `seen` is gRPC's own text."""

    def __init__(self, target: str, seen: str) -> None:
        super().__init__(unreachable(target, seen))


class Interrupted(Exception):
    """A person or a supervisor wants it to stop; `exit_code` says who."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


@dataclass(frozen=True, slots=True)
class Server:
    """Where the server is, and who calls it: the name of the variable with the token."""

    target: str
    token_env: str

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[TokenStreamClient]:
        """A client, closed at the end. Raises NoServer at once where the client would be patient."""
        async with TokenStreamClient(self.target, token=self._token(), policy=POLICY) as client:
            await interruptible(self._reach())
            yield client

    async def _reach(self) -> None:
        """Waits for a connection, which the client then shares: gRPC keeps one for equal options."""
        async with grpc.aio.insecure_channel(self.target, channel_options()) as channel:
            while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
                if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                    await self._explain(channel)
                    return
                await channel.wait_for_state_change(state)

    async def _explain(self, channel: grpc.aio.Channel) -> None:
        """Makes any call: its error has the cause, which the channel's state does not tell."""
        try:
            await channel.unary_unary("/grpc.health.v1.Health/Check", bytes, bytes)(b"")
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                raise NoServer(self.target, error.details() or "") from None

    def _token(self) -> str | None:
        """The token; a variable that was named on purpose must be set."""
        token = os.environ.get(self.token_env)
        if not token and self.token_env != "TOKENGRPC_TOKEN":  # noqa: S105 - a variable's name
            raise typer.BadParameter(
                f"the environment variable {self.token_env} is not set", param_hint="--token-env"
            )
        return token or None


def run(work: Coroutine[Any, Any, int], server: Server) -> int:
    """Runs a command's work and answers its exit code; failures become one line."""
    try:
        return asyncio.run(work)
    except TokenStreamError as error:
        fail(told(error, server.target))
        return exits.FAILURE
    except NoServer as error:
        fail(str(error))
        return exits.FAILURE
    except Interrupted as interrupted:
        return interrupted.exit_code
    except KeyboardInterrupt:
        return exits.INTERRUPTED


def told(error: TokenStreamError, target: str) -> str:
    """A failure in one line: code, reason, what happened, what to do."""
    if error.code is grpc.StatusCode.UNAVAILABLE and not error.reason and not error.last_sequence:
        return unreachable(target, error.message)
    if error.code is grpc.StatusCode.UNAUTHENTICATED:
        hint = "set TOKENGRPC_TOKEN to your key, or name its variable with --token-env"
        return f"{error.code.name}: {without_advice(error.message)}; {hint}"
    code = f"{error.code.name} " if error.reason not in {"", error.code.name} else ""
    return f"{code}{error}"


async def interruptible(work: Coroutine[Any, Any, T]) -> T:
    """Does some work; Ctrl-C or SIGTERM cancels it, which closes what it has open.

    Raises Interrupted then. A second Ctrl-C does not wait for that.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    received: list[int] = []

    def stop(number: int) -> None:
        received.append(number)
        release()
        task.cancel()

    def release() -> None:
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
        release()
