"""The requests that attacks send."""

from __future__ import annotations

import zlib

from tokenstreaming.v1 import token_stream_pb2 as pb

from bench.script import Script


def short_request() -> bytes:
    """Returns a StreamTokensRequest whose answer takes the engine ten seconds."""
    return pb.StreamTokensRequest(prompt=Script(tokens=100, rate=10.0).prompt()).SerializeToString()


def long_request() -> bytes:
    """Returns a StreamTokensRequest with a long answer, which the engine sends at once."""
    script = Script(tokens=5_000, stamp_every=5_000)
    return pb.StreamTokensRequest(prompt=script.prompt()).SerializeToString()


def unknown_generation() -> bytes:
    """Returns a GetGenerationRequest for an id that does not exist."""
    return pb.GetGenerationRequest(generation_id="unknown").SerializeToString()


def bomb(bytes_: int) -> bytes:
    """Returns so many zeros, compressed with gzip."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    piece = bytes(1 << 20)
    parts = [packer.compress(piece) for _ in range(bytes_ >> 20)]
    return b"".join(parts) + packer.flush()
