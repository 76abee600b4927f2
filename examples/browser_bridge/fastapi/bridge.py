"""A bridge between browsers and tokengrpc: server-sent events whose ids are cursors. See ../README.md."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import defaultdict
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, Header, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field
from tokenstreaming.v1 import generation_pb2, input_pb2, token_stream_pb2

from tokengrpc import Conversation, Cursor, TokenStream, TokenStreamClient, TokenStreamError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

PAGE = Path(__file__).parent.parent / "page"
# Seconds that a generation waits for a tab.
WAIT = {"detach": 30, "cancel": 3}


class Start(BaseModel):
    """Body of POST /generations."""

    prompt: str = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1, lt=2**31)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Opens the client in the event loop that uses it."""
    async with TokenStreamClient(os.environ.get("TOKENGRPC_TARGET", "127.0.0.1:50051")) as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)
open_streams: defaultdict[str, set[TokenStream]] = defaultdict(set)
"""The streams that tabs read, by generation."""


def parse_cursor(cursor: str, last_event_id: Annotated[str | None, Header()] = None) -> Cursor:
    """Returns the place to go on at: that of the browser's reconnect, or that of the address."""
    return Cursor.parse(last_event_id or cursor)


Place = Annotated[Cursor, Depends(parse_cursor)]


@app.post("/generations", status_code=201)
async def start(body: Start) -> dict[str, str]:
    """Starts a generation, and leaves it to the tab that will read it."""
    request = token_stream_pb2.StreamTokensRequest()
    request.recovery.disconnect_action = input_pb2.DISCONNECT_ACTION_DETACH
    request.recovery.detach_ttl.seconds = WAIT[os.environ.get("ON_CLOSE", "detach")]
    request.conversation.CopyFrom(Conversation().user(body.prompt).to_proto())
    stream = app.state.client.stream(request, max_tokens=body.max_tokens)
    async with aclosing(stream.messages()) as messages:
        await anext(messages)  # the generation has started
        return {"cursor": str(await stream.detach())}


@app.get("/stream", response_class=EventSourceResponse)
async def read(place: Place) -> AsyncIterator[ServerSentEvent]:
    """Sends what follows the cursor. A closed tab ends this, and leaves the generation to another reader."""
    client: TokenStreamClient = app.state.client
    stream = client.resume(place)
    readers = open_streams[place.generation_id]
    readers.add(stream)
    yield ServerSentEvent(retry=500)
    try:
        async with aclosing(stream.messages()) as messages:
            async for message in messages:
                if message.tokens:
                    yield ServerSentEvent(id=str(stream.cursor), data=text_of(message.tokens))
        if stream in readers:  # it was not cut
            # Not from the stream, which has nothing to read if the cursor was already at the end.
            generation = await client.get(place.generation_id)
            yield ServerSentEvent(event="finished", id=str(stream.cursor), data=end_of(generation))
    except TokenStreamError as error:
        yield ServerSentEvent(event="failed", data=failure(error))
    finally:
        readers.discard(stream)
        if not readers:
            open_streams.pop(place.generation_id, None)


@app.post("/cut", status_code=204)
async def cut(place: Place) -> None:
    """Breaks off what tabs read of a generation, to try out what they do then."""
    streams = open_streams[place.generation_id].copy()
    open_streams[place.generation_id].clear()
    for stream in streams:
        await stream.detach()  # its loop ends normally, without the last event


@app.exception_handler(TokenStreamError)
async def refuse(_request: Request, error: TokenStreamError) -> JSONResponse:
    """Answers with the reason of an error: 400 if the browser sent a wrong cursor, 502 otherwise."""
    return JSONResponse(failure(error), 400 if error.reason == "INVALID_CURSOR" else 502)


@app.exception_handler(RequestValidationError)
async def refuse_body(_request: Request, error: RequestValidationError) -> JSONResponse:
    """Answers 400 to a request with missing or wrong fields."""
    return JSONResponse({"reason": "INVALID_REQUEST", "message": error.errors()[0]["msg"]}, 400)


app.mount("/", StaticFiles(directory=PAGE, html=True))


def text_of(tokens: Sequence[generation_pb2.Token]) -> dict[str, Any]:
    """Returns the text of a message's tokens, with how many they are and when the server had them."""
    times = [{"count": token.count, "at": token.emit_time.ToNanoseconds() / 1e6} for token in tokens]
    return {"text": "".join(token.text for token in tokens), "tokens": times}


def end_of(generation: generation_pb2.Generation) -> dict[str, Any]:
    """Returns how a generation ended, with its usage."""
    timing = generation.finished.timing
    has_token = timing.HasField("time_to_first_token")
    reason = generation_pb2.FinishReason.Name(generation.finished.finish_reason)
    return {
        "finish_reason": reason.removeprefix("FINISH_REASON_"),
        "input_tokens": generation.usage.input_token_count,
        "output_tokens": generation.usage.output_token_count,
        "first_token_ms": timing.time_to_first_token.ToNanoseconds() / 1e6 if has_token else None,
    }


def failure(error: TokenStreamError) -> dict[str, str]:
    """Returns the reason and the message of an error."""
    return {"reason": error.reason or error.code.name, "message": error.message}


def main() -> None:
    """Serves on 127.0.0.1, and prints the address once connections are accepted."""
    try:
        listener = socket.create_server(("127.0.0.1", int(os.environ.get("PORT", "8080"))))
    except (OSError, OverflowError, ValueError) as error:
        raise SystemExit(f"error: {error}: set PORT to a free port") from None
    with listener:
        print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        # Open streams must not delay the exit: their tabs resume at the next bridge.
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        asyncio.run(uvicorn.Server(config).serve([listener]))


if __name__ == "__main__":
    main()
