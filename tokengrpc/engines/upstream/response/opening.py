"""Opens a response: checks its head, and how its body begins unless the type says that it is a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokengrpc.engines.http.client import read_body
from tokengrpc.engines.http.head import HTTPError
from tokengrpc.engines.upstream.response.batching import portions
from tokengrpc.engines.upstream.response.body_form import EVENT_STREAM, BodyForm, form_of, is_compressed
from tokengrpc.engines.upstream.response.reader import decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tokengrpc.core.model import Delta
    from tokengrpc.engines.http.connection import Response
    from tokengrpc.engines.upstream.errors.failures import Failures
    from tokengrpc.engines.upstream.response.decoder import StreamDecoder
    from tokengrpc.engines.upstream.response.sse import SSEDecoder


async def open_output(
    response: Response, events: SSEDecoder, decoder: StreamDecoder, failures: Failures
) -> Iterable[Sequence[Delta]]:
    """Returns what it has read so far, decoded: the whole output if the server does not stream.

    Raises the error that a refusal maps to, and EngineProtocolError for an unusable response.
    """
    head = response.head
    if not 200 <= head.status < 300:
        raise await failures.refusal(response)
    if is_compressed(head):
        raise failures.compressed()
    if head.content_type == EVENT_STREAM:
        return ()
    try:
        beginning, form = await _beginning(response)
        if form is BodyForm.JSON:
            return _whole_output(beginning + await read_body(response), decoder, failures)
    except (HTTPError, OSError) as error:
        raise failures.lost(error) from error
    if form is BodyForm.EVENTS:
        return decode(beginning, events, decoder) if beginning else ()
    raise failures.unreadable(head.content_type)


def _whole_output(body: bytes, decoder: StreamDecoder, failures: Failures) -> Iterable[Sequence[Delta]]:
    """Decodes the whole output of a server that does not stream.

    Raises the error for an error object, which some servers send with status 200.
    """
    error = failures.in_place_of_output(body)
    if error is not None:
        raise error
    return portions([body], decoder.feed([body]) + decoder.end([]))


async def _beginning(response: Response) -> tuple[bytes, BodyForm]:
    """Reads as much of a body as shows its form. White space before it may come for long, and is dropped."""
    beginning, form = b"", BodyForm.UNKNOWN
    while form is BodyForm.UNKNOWN:
        chunk = await response.read()
        beginning = (beginning + chunk).lstrip()
        form = form_of(beginning, ended=not chunk)
    return beginning, form
