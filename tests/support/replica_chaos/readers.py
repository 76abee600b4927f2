"""Readers that use the public Python client, and write down what they see."""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import TYPE_CHECKING

from tests.support.replica_chaos.histories import End, History, Seen
from tests.support.replica_chaos.stages import Pause
from tokengrpc.client.errors import TokenStreamError
from tokengrpc.client.status import from_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokenstreaming.v1 import token_stream_pb2 as pb

    from tokengrpc.client.stream import TokenStream


async def record(stream: TokenStream, reader: str, *, on_message: Callable[[int], None]) -> History:
    """Reads a stream to its end, over all replicas that its client resumes on. `reader` is its name.

    `on_message` is called with the sequence of each message, which is 0 for notices.
    """
    history, incarnation = History(reader), ""
    try:
        async with aclosing(stream.messages()) as messages:
            async for message in messages:
                incarnation = _incarnation(message) or incarnation
                if message.WhichOneof("notice") == "attached":
                    history.attached.append(time.time())
                if not message.WhichOneof("notice"):
                    history.seen.append(_seen(message, incarnation, reader))
                on_message(message.sequence)
    except TokenStreamError as error:
        if history.end is None:
            history.failure = error.reason or error.code.name
    return history


def _incarnation(message: pb.StreamTokensResponse) -> str:
    return message.started.log_incarnation or message.attached.log_incarnation


def _seen(message: pb.StreamTokensResponse, incarnation: str, reader: str) -> Seen:
    tokens = message.tokens
    end = None
    if message.HasField("finished"):
        status = message.finished.status
        usage = message.usage.input_token_count, message.usage.output_token_count
        end = End(from_status(status).reason if status.code else "", usage)
    return Seen(
        sequence=message.sequence,
        first=tokens[0].index if tokens else 0,
        count=sum(token.count for token in tokens),
        text="".join(token.text for token in tokens),
        checksum=message.output_checksum if message.HasField("output_checksum") else None,
        incarnation=incarnation,
        end=end,
        switched=message.engine_switched.reason,
        replica=reader,
        at=time.time(),
    )


def pauses(generation_id: str, history: History) -> list[Pause]:
    """Returns the pauses from the last output before another server took over to the first one after it."""
    found, last, switched = [], None, False
    for seen in history.seen:
        switched = switched or seen.switched in {"SERVER_LOST", "DRAINING"}
        if seen.count:
            if switched and last is not None:
                attached = tuple(at for at in history.attached if last < at)
                found.append(Pause(generation_id=generation_id, last=last, first=seen.at, attached=attached))
            last, switched = seen.at, False
    return found
