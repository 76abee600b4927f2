"""`tokengrpc usage export`: writes the ledger's entries to stdout, or posts them to a receiver."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import typer
from tokenstreaming.v1 import usage_service_pb2, usage_service_pb2_grpc

from tokengrpc.cli import exits
from tokengrpc.cli.endpoint import Endpoint, with_endpoint
from tokengrpc.cli.options import between
from tokengrpc.cli.output import write, write_error, write_note
from tokengrpc.cli.target import unreachable
from tokengrpc.cli.usage.formats import ENCODINGS, Format
from tokengrpc.cli.usage.options import AFTER
from tokengrpc.cli.usage.receiver import Receiver, ReceiverError
from tokengrpc.client.channel import call_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator

_PAGE = 500
_TIMEOUT = 60.0
_FORMAT = typer.Option(
    Format.JSONL, "--format", metavar="NAME", help="jsonl, csv, focus (1.2) or cloudevents (1.0)."
)


@with_endpoint
def export(
    *,
    endpoint: Endpoint,
    format_: Format = _FORMAT,
    after: int | None = AFTER,
    state: str = typer.Option(
        "",
        "--state",
        metavar="FILE",
        help="Continue after the sequence in this file, and keep it up to date there.",
    ),
    tenant: str = typer.Option(
        "", "--tenant", metavar="NAME", help="Only entries of this tenant; for admins, otherwise all."
    ),
    to: str = typer.Option("", "--to", metavar="URL", help="Post the entries there, by HTTP, in batches."),
    to_token_env: str = typer.Option(
        "",
        "--to-token-env",
        metavar="NAME",
        help="The environment variable with the receiver's token (Authorization: Bearer).",
    ),
    attempts: int = typer.Option(
        8, "--attempts", metavar="N", callback=between(1, 1000), help="The attempts for each batch."
    ),
) -> int:
    """Export the entries of the usage ledger.

    Each entry is exported at least once, in order; its sequence identifies it, so that a receiver can skip
    an entry that it has. The last line on stderr has the sequence to continue after.
    """
    kept = Path(state) if state else None
    position = _position(after, kept)
    encoding = ENCODINGS[format_]
    receiver = _receiver(to, to_token_env, attempts)
    if receiver is None:
        write(encoding.header)
    try:
        for entries, last in _pages(endpoint, position, tenant):
            if receiver is None:
                write(encoding.lines(entries))
            elif body := encoding.body(entries):
                receiver.send(body, encoding.content_type, entries[0].sequence, entries[-1].sequence)
            position = last
            if kept is not None:
                _keep(kept, position)
    except grpc.RpcError as error:
        write_error(_failure(error, endpoint))
        return exits.FAILURE
    except ReceiverError as error:
        write_error(f"{error}; continue with --after {position}")
        return exits.FAILURE
    write_note(f"exported up to sequence {position}")
    return exits.OK


def _receiver(url: str, token_env: str, attempts: int) -> Receiver | None:
    """Returns the receiver; None for stdout. Raises BadParameter."""
    if not url:
        return None
    headers = {}
    if token_env:
        token = os.environ.get(token_env)
        if not token:
            raise typer.BadParameter(
                f"the environment variable {token_env} is not set", param_hint="--to-token-env"
            )
        headers["Authorization"] = f"Bearer {token}"
    try:
        return Receiver(url, headers, attempts)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--to") from None


def _pages(
    endpoint: Endpoint, position: int, tenant: str
) -> Iterator[tuple[list[usage_service_pb2.UsageEntry], int]]:
    """Yields pages of entries, each with the sequence to continue after."""
    metadata = call_metadata(endpoint.token())
    with endpoint.channel() as channel:
        stub = usage_service_pb2_grpc.UsageServiceStub(channel)  # type: ignore[no-untyped-call] # it is generated
        while True:
            request = usage_service_pb2.ListUsageEntriesRequest(
                after_sequence=position, page_size=_PAGE, tenant=tenant
            )
            page = stub.ListUsageEntries(request, timeout=_TIMEOUT, metadata=metadata())
            if not page.usage_entries:
                return
            position = page.last_sequence
            yield list(page.usage_entries), position


def _position(after: int | None, kept: Path | None) -> int:
    """Returns the sequence to begin after: the flag's, else the file's, else 0. Raises BadParameter."""
    if after is not None or kept is None:
        return after or 0
    try:
        return int(kept.read_text(encoding="ascii"))
    except FileNotFoundError:
        return 0
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it has no sequence"
        raise typer.BadParameter(f"{kept} cannot be read: {cause}", param_hint="--state") from None


def _keep(kept: Path, position: int) -> None:
    """Replaces the file, so that an interruption leaves the old or the new sequence."""
    new = kept.with_name(f"{kept.name}.new")
    with new.open("w", encoding="ascii") as file:
        file.write(f"{position}\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(kept)


def _failure(error: grpc.RpcError, endpoint: Endpoint) -> str:
    """Returns a failed call in one line."""
    details = error.details() or ""
    if error.code() is grpc.StatusCode.UNAVAILABLE and not error.trailing_metadata():
        return unreachable(endpoint.target, details, tls=endpoint.has_tls)
    return f"{error.code().name}: {details}"
