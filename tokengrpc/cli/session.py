"""Runs the part of a command that calls a server: connects, handles Ctrl-C, reports failures."""

from __future__ import annotations

import asyncio
import re
import shlex
import signal
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from tokengrpc.cli import exits
from tokengrpc.cli.output import write_error, write_note
from tokengrpc.cli.target import unreachable
from tokengrpc.client import ResumePolicy, TokenStreamClient, TokenStreamError
from tokengrpc.client.errors import strip_advice

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from tokengrpc.cli.endpoint import Endpoint

T = TypeVar("T")


# What the server's messages name, and how the command line says it.
_COMMAND_WORDS = {
    "CancelGeneration": "`tokengrpc cancel`",
    "GetGeneration": "`tokengrpc get`",
    "ListModels": "`tokengrpc models`",
    "ResumeTokens": "`tokengrpc stream --resume`",
    "generation_id": "ID",
    "max_output_token_count": "--max-tokens",
    "recovery.max_engine_switch_count": "--switches",
    "sampling.seed": "--seed",
    "sampling.stop_sequences": "--stop",
    "sampling.temperature": "--temperature",
}
_CONTRACT_WORD = re.compile(rf"\b({'|'.join(map(re.escape, _COMMAND_WORDS))})\b")


class ServerUnreachable(Exception):
    """Target that does not answer with gRPC. `details` is the gRPC library's own message."""

    def __init__(self, endpoint: Endpoint, details: str) -> None:
        super().__init__(unreachable(endpoint.target, details, tls=endpoint.has_tls))


class Interrupted(Exception):
    """Command that SIGINT or SIGTERM stopped. `exit_code` is 128 plus the signal's number."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.exit_code = 128 + signal_number


@dataclass(frozen=True, slots=True)
class Server:
    """A server and how long a command tries to reach it, in seconds. 0 is one attempt."""

    endpoint: Endpoint
    patience: float = 0.0

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[TokenStreamClient]:
        """Yields a connected client and closes it at the end.

        Raises ServerUnreachable if there is no connection within `patience`.
        """
        # An engine's failure is not retried, because the user should see it immediately and decide.
        policy = ResumePolicy(patience=self.patience, retry_attempts=0)
        endpoint = self.endpoint
        async with TokenStreamClient(
            endpoint.target, token=endpoint.token(), credentials=endpoint.credentials, policy=policy
        ) as client:
            await interruptible(self._wait_until_connected())
            yield client

    async def _wait_until_connected(self) -> None:
        """Waits for a connection. The client reuses it, because gRPC shares one between equal channels."""
        end: float | None = None
        async with self.endpoint.aio_channel() as channel:
            while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
                if end is None and state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                    end = asyncio.get_running_loop().time() + self.patience
                    if self.patience:
                        write_note(
                            f"{self.endpoint.target} is not reachable; trying again for {self.patience:g} s"
                        )
                try:
                    async with asyncio.timeout_at(end):
                        await channel.wait_for_state_change(state)
                except TimeoutError:
                    await self._raise_cause(channel)
                    return

    async def _raise_cause(self, channel: grpc.aio.Channel) -> None:
        """Makes a call and raises ServerUnreachable if the call fails with UNAVAILABLE.

        The call is needed because its error contains the cause, and the channel's state does not.
        """
        try:
            await channel.unary_unary("/grpc.health.v1.Health/Check", bytes, bytes)(b"")
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                raise ServerUnreachable(self.endpoint, error.details() or "") from None


def run(work: Coroutine[Any, Any, int], server: Server) -> int:
    """Runs a command's work and returns its exit code. Failures are reported in one line."""
    try:
        return asyncio.run(work)
    except TokenStreamError as error:
        write_error(error_line(error, server.endpoint))
        return exits.FAILURE
    except ServerUnreachable as error:
        write_error(str(error))
        return exits.FAILURE
    except Interrupted as interrupted:
        return interrupted.exit_code
    except KeyboardInterrupt:
        return exits.INTERRUPTED


def error_line(error: TokenStreamError, endpoint: Endpoint) -> str:
    """Returns a failure in one line: code, reason, what happened, what to do, in words of the commands."""
    if error.code is grpc.StatusCode.UNAVAILABLE and not error.reason and not error.last_sequence:
        return unreachable(endpoint.target, error.message, tls=endpoint.has_tls)
    if error.code is grpc.StatusCode.UNAUTHENTICATED:
        hint = "set TOKENGRPC_TOKEN to your key, or name another variable with --token-env"
        return f"{error.code.name}: {strip_advice(error.message)}; {hint}"
    code = f"{error.code.name} " if error.reason not in {"", error.code.name} else ""
    line = code + _CONTRACT_WORD.sub(lambda match: _COMMAND_WORDS[match[0]], str(error))
    if error.cursor is None:
        return line
    return line.replace(f"cursor {error.cursor}", f"`tokengrpc stream --resume {shlex.quote(error.cursor)}`")


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
