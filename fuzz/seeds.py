"""The seeds of fuzzing: the samples of the tests, and the inputs in `corpus`."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.wire_samples import wire_samples

_ROOT = Path(__file__).resolve().parent.parent
CORPUS = _ROOT / "fuzz" / "corpus"


_HEADS = {
    "chunked": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    "sized": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n",
    "until close": b"HTTP/1.0 200 OK\r\n\r\n",
}


def seeds(target: str) -> list[bytes]:
    """Returns the seeds of a target."""
    return _MADE[target]() + [path.read_bytes() for path in sorted((CORPUS / target).glob("*.bin"))]


def _bodies(*, anthropic: bool | None = None) -> list[bytes]:
    return [
        sample.body
        for sample in wire_samples()
        if anthropic is None or (sample.dialect == "anthropic") is anthropic
    ]


def _responses() -> list[bytes]:
    made = []
    for body in _bodies()[:40]:
        half = len(body) // 2
        parts = [part for part in (body[:half], body[half:]) if part]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
        made.append(_HEADS["chunked"] + chunks + b"0\r\n\r\n")
        made.append(_HEADS["sized"] % len(body) + body)
        made.append(_HEADS["until close"] + body)
    return made


def _requests() -> list[bytes]:
    """Returns the readable requests of the corpus as bytes."""
    return [
        text_format.Parse(path.read_text(encoding="utf-8"), pb.StreamTokensRequest()).SerializeToString()
        for path in sorted((CORPUS / "request").glob("*.txtpb"))
    ]


_MADE = {
    "sse": _bodies,
    "http1": _responses,
    "openai": lambda: _bodies(anthropic=False),
    "anthropic": lambda: _bodies(anthropic=True),
    "vllm": list,
    "request": _requests,
}
