"""The fuzz targets. Each one accepts any bytes, and fails if the code under test violates a property.

Streams are decoded whole and in pieces, with the same result. Only errors of `tokengrpc.errors` may be
raised, and each of them must map to a status that is not UNKNOWN and fits into trailers.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from zlib import crc32

from tokenstreaming.v1 import token_stream_pb2 as pb

from fuzz.reference import events_of
from tokengrpc.core.generation import Generation
from tokengrpc.core.request import GenerationRequest, OutputOptions
from tokengrpc.core.stopping_text import StoppingText
from tokengrpc.core.termination import Termination
from tokengrpc.engines.anthropic import request as anthropic_request
from tokengrpc.engines.anthropic.events import EventDecoder
from tokengrpc.engines.http.parser import ResponseParser
from tokengrpc.engines.openai.chunks.decoder import ChunkDecoder
from tokengrpc.engines.openai.dialects.row import Api
from tokengrpc.engines.openai.dialects.table import DIALECTS
from tokengrpc.engines.openai.request import body as openai_request
from tokengrpc.engines.upstream.response.reader import decode
from tokengrpc.engines.upstream.response.sse import SSEDecoder
from tokengrpc.engines.vllm.output import OutputDecoder
from tokengrpc.engines.vllm.request import encode_request as vllm_message
from tokengrpc.errors import EngineProtocolError, TokenGrpcError
from tokengrpc.wire.encoding import ProtobufEncoder
from tokengrpc.wire.parsing import parse
from tokengrpc.wire.request import generation_request
from tokengrpc.wire.status import CODES, MAX_TRAILER_BYTES, Code, Failure, status_of, trailer_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokengrpc.core.model import Delta
    from tokengrpc.engines.upstream.response.decoder import StreamDecoder

_EVERYTHING = OutputOptions(top_logprob_count=2, token_ids=True, raw_bytes=True)
_ENCODER = ProtobufEncoder()


class Letters:
    """A tokenizer that counts one token per character."""

    name, exact = "letters", False

    def count(self, text: str) -> int:
        """Returns the token count of a text."""
        return len(text)

    def count_input(self, messages: object, tools: object) -> int:  # noqa: ARG002 - a tokenizer's signature
        """Returns the token count of any input."""
        return 1


def sse(data: bytes) -> None:
    """The event parser agrees with a slow parser that follows the specification literally."""
    wanted = events_of(data)
    for pieces in _cuts(data):
        decoder = SSEDecoder()
        found = [payload for piece in pieces for payload in decoder.feed(piece)]
        assert (found, decoder.close()) == wanted
    bounded = [_bounded_events(pieces) for pieces in _cuts(data)]
    assert all(result == bounded[0] for result in bounded)


def http1(data: bytes) -> None:
    """The response parser returns the same head, body and error however the bytes are cut."""
    results = []
    for pieces in _cuts(data):
        parser = ResponseParser()
        body = b"".join(parser.feed(piece) for piece in pieces)
        parser.close()
        assert parser.ended is not (parser.error is not None)
        results.append((parser.head and parser.head.status, body, type(parser.error)))
    assert all(result == results[0] for result in results)


def openai(data: bytes) -> None:
    """A body of an OpenAI-compatible server, decoded up to the messages that callers receive."""
    _stream(data, lambda: ChunkDecoder("fuzz", _EVERYTHING), _EVERYTHING)
    _stream(data, lambda: ChunkDecoder("fuzz", OutputOptions()), OutputOptions())


def anthropic(data: bytes) -> None:
    """A body of Anthropic's Messages API, decoded up to the messages that callers receive."""
    _stream(data, lambda: EventDecoder("fuzz"), OutputOptions())


# Between two messages of the target `vllm`.
SEPARATOR = b"\x00SEP\x00"


class Latin:
    """A vocabulary with a token for each byte."""

    def token_bytes(self, token: int) -> bytes:
        """Returns the byte; nothing for an id beyond the vocabulary."""
        return bytes([token]) if token < 256 else b""

    def token_text(self, token: int) -> str:
        """Returns the token for display."""
        return self.token_bytes(token).decode("latin-1")


def vllm(data: bytes) -> None:
    """Messages of vLLM's gRPC service, decoded up to the messages that callers receive."""
    for stopping in (None, StoppingText(("ab", "bc"), (), "")):
        decoder = OutputDecoder("fuzz", Latin(), prompt_ids=(1,), top_count=2, stopping=stopping)
        deltas: list[Delta] = []
        for message in data.split(SEPARATOR):
            if not decoder.ended:
                deltas += decoder.feed(message)
        if not decoder.ended:
            decoder.end()
        _deliver(deltas, decoder.error, _EVERYTHING)


def request(data: bytes) -> None:
    """A caller's StreamTokensRequest: refused with the field's name, or accepted by every engine."""
    try:
        parsed = generation_request(parse(pb.StreamTokensRequest, data))
    except TokenGrpcError as error:
        _check_status(error)
        return
    for dialect in DIALECTS.values():
        for api in Api:
            _check_body(
                lambda d=dialect, a=api: openai_request.encode_request(parsed, api=a, dialect=d, model="m")
            )
    options = anthropic_request.Options()
    _check_body(lambda: anthropic_request.encode_request(parsed, model="m", options=options))
    try:
        vllm_message(parsed, "id", parsed.prompt_token_ids or (1, 2), {}).SerializeToString()
    except TokenGrpcError as error:
        _check_status(error)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "sse": sse,
    "http1": http1,
    "openai": openai,
    "anthropic": anthropic,
    "vllm": vllm,
    "request": request,
}


def _cuts(data: bytes) -> list[list[bytes]]:
    """Returns the bytes whole, in two pieces cut at a position that depends on them, and in many pieces."""
    at = sum(data) % (len(data) + 1)
    size = 1 if len(data) <= 256 else 1 + len(data) // 64
    return [[data], [data[:at], data[at:]], [data[i : i + size] for i in range(0, len(data), size)]]


def _bounded_events(pieces: Sequence[bytes]) -> tuple[list[bytes], bool]:
    decoder, found = SSEDecoder(max_event_bytes=16), []
    try:
        for piece in pieces:
            found += decoder.feed(piece)
        found += decoder.close()
    except EngineProtocolError as error:
        _check_status(error)
        return found, True
    return found, False


def _stream(data: bytes, make: Callable[[], StreamDecoder], output: OutputOptions) -> None:
    results = [_decoded(pieces, make()) for pieces in _cuts(data)]
    assert all(result[:2] == results[0][:2] for result in results)
    deltas, _, error = results[0]
    _deliver(deltas, error, output)


def _deliver(deltas: Sequence[Delta], error: TokenGrpcError | None, output: OutputOptions) -> None:
    """Runs the deltas of an engine and its end through a generation, up to the messages of callers."""
    generation = Generation(GenerationRequest(prompt="p", output=output), Letters(), 1)
    events = generation.accept("fuzz", 1)
    termination = Termination.failed(error) if error is not None else None
    try:
        events += generation.feed(deltas, 2)
    except TokenGrpcError as excess:
        termination = Termination.failed(excess)
    if termination is None:
        assert generation.engine_finish is not None
        termination = Termination.of(generation.engine_finish)
    events += generation.end(termination, 3)
    checksum = 0
    for record in _ENCODER.recorder().records(events):
        message = pb.StreamTokensResponse.FromString(record.body + record.tail)
        for token in message.tokens:
            checksum = crc32((token.text + token.reasoning_text + token.refusal_text).encode(), checksum)
        for part in message.tool_call_fragments:
            checksum = crc32((part.id + part.function_name + part.arguments_fragment).encode(), checksum)
        assert message.output_checksum == checksum
    if termination.error is not None:
        _check_status(termination.error)


def _decoded(
    pieces: Sequence[bytes], decoder: StreamDecoder
) -> tuple[list[Delta], type | None, TokenGrpcError | None]:
    events, deltas = SSEDecoder(), []
    for piece in [*filter(None, pieces), b""]:
        if not decoder.ended:
            deltas += [delta for batch in decode(piece, events, decoder) for delta in batch]
    assert decoder.ended
    return deltas, type(decoder.error), decoder.error


def _check_body(encode: Callable[[], bytes]) -> None:
    try:
        body = encode()
    except TokenGrpcError as error:
        _check_status(error)
    else:
        json.loads(body)


def _check_status(error: TokenGrpcError) -> None:
    status = status_of(error, Failure(generation_id="x" * 128))
    assert status.code == CODES[error.reason] != Code.UNKNOWN
    assert trailer_bytes(status) <= MAX_TRAILER_BYTES
