"""`tokengrpc probe`: checks a server's health, with the exit codes of grpc-health-probe."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc
import typer
from grpc_health.v1 import health_pb2, health_pb2_grpc
from typer.core import TyperCommand

from tokengrpc.cli import options
from tokengrpc.cli.endpoint import Endpoint, with_open_endpoint
from tokengrpc.cli.exits import epilog
from tokengrpc.cli.output import write, write_error
from tokengrpc.cli.target import unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVING = 0
BAD_USAGE = 1
NO_CONNECTION = 2
CALL_FAILED = 3
NOT_SERVING = 4

MEANINGS = {
    SERVING: "serving",
    BAD_USAGE: "wrong usage",
    NO_CONNECTION: "no connection, or no answer within the timeout",
    CALL_FAILED: "the call failed, for example because the server does not know the service",
    NOT_SERVING: "not serving",
}
EPILOG = epilog(MEANINGS)


class ProbeCommand(TyperCommand):
    """Command whose usage errors have another exit code than those of the other commands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer's or click's Context
        """Parses the arguments."""
        with _wrong_usage():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - as above
        """Runs the command."""
        with _wrong_usage():
            return super().invoke(ctx)


@contextmanager
def _wrong_usage() -> Iterator[None]:
    try:
        yield
    except options.UsageError as error:
        error.exit_code = BAD_USAGE  # type: ignore[attr-defined] # click's UsageError has exit_code
        raise


SETTINGS: dict[str, Any] = {"cls": ProbeCommand, "epilog": EPILOG}


@with_open_endpoint
def probe(
    *,
    endpoint: Endpoint,
    service: str = typer.Option(
        "",
        "--service",
        metavar="NAME",
        help="liveness, readiness or tokenstreaming.v1.TokenStream; empty for the server as a whole.",
    ),
    timeout: float = typer.Option(
        1.0, "--timeout", metavar="SECONDS", min=0.001, help="The time limit for connecting and the check."
    ),
) -> int:
    """Check the health of a server.

    The command calls grpc.health.v1, as Kubernetes does.
    """
    request = health_pb2.HealthCheckRequest(service=service)
    with endpoint.channel() as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=timeout)
        except grpc.RpcError as error:
            return _failed(error, endpoint, service, timeout)
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    write(f"status: {status}", end="\n")
    return SERVING if answer.status == health_pb2.HealthCheckResponse.SERVING else NOT_SERVING


def _failed(error: grpc.RpcError, endpoint: Endpoint, service: str, timeout: float) -> int:
    code = error.code()
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        write_error(f"{code.name}: no answer from {endpoint.target} within {timeout:g} s")
        return NO_CONNECTION
    if code is grpc.StatusCode.UNAVAILABLE:
        write_error(unreachable(endpoint.target, error.details() or "", tls=endpoint.has_tls))
        return NO_CONNECTION
    if code is grpc.StatusCode.NOT_FOUND:
        write_error(f"{code.name}: the server does not know the service `{service}`")
    else:
        write_error(f"{code.name}: {error.details()}")
    return CALL_FAILED
