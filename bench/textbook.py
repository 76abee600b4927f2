"""The textbook relay: OpenAI's SDK for the engine and a `yield` per token for gRPC, as in tutorials.

Its messages have the same contents as tokengrpc's: sequence, index, text, time and cumulative usage (a chunk
counts as one token until the engine reports the total). It stores nothing, so nothing can be resumed.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import uuid
from typing import TYPE_CHECKING

import grpc
from openai import APIConnectionError, APIStatusError, AsyncOpenAI
from tokenstreaming.v1 import generation_pb2, token_stream_pb2, token_stream_pb2_grpc, usage_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    _Request = token_stream_pb2.StreamTokensRequest
    _Response = token_stream_pb2.StreamTokensResponse

_FINISH_REASONS = {
    "stop": generation_pb2.FINISH_REASON_END,
    "length": generation_pb2.FINISH_REASON_MAX_TOKENS,
    "tool_calls": generation_pb2.FINISH_REASON_TOOL_CALLS,
    "content_filter": generation_pb2.FINISH_REASON_CONTENT_FILTER,
}


class TextbookRelay(token_stream_pb2_grpc.TokenStreamServicer):
    """A servicer that relays conversations to one model."""

    def __init__(self, openai: AsyncOpenAI, model: str) -> None:
        self._openai = openai
        self._model = model

    async def StreamTokens(  # noqa: N802 (the stub's name)
        self, request: _Request, context: grpc.aio.ServicerContext[_Request, _Response]
    ) -> AsyncIterator[_Response]:
        """Relays one chat completion: `started`, one message per token, `finished`."""
        try:
            stream = await self._openai.chat.completions.create(
                model=self._model,
                messages=[{"role": "user", "content": item.text} for item in request.conversation.messages],
                stream=True,
                stream_options={"include_usage": True},
            )
        except (APIConnectionError, APIStatusError) as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        started = generation_pb2.Started(generation_id=str(uuid.uuid4()), model=self._model)
        sequence = 1
        yield token_stream_pb2.StreamTokensResponse(sequence=sequence, started=started)
        finish_reason = generation_pb2.FINISH_REASON_OTHER
        usage = usage_pb2.Usage(source=usage_pb2.USAGE_SOURCE_ESTIMATED)
        async for chunk in stream:
            if chunk.usage:
                usage.input_token_count = chunk.usage.prompt_tokens
                usage.output_token_count = chunk.usage.completion_tokens
                usage.source = usage_pb2.USAGE_SOURCE_ENGINE
            if not chunk.choices:
                continue
            choice = chunk.choices[0]
            if choice.delta.content:
                sequence += 1
                token = generation_pb2.Token(index=sequence - 2, count=1, text=choice.delta.content)
                token.emit_time.GetCurrentTime()
                usage.output_token_count += 1
                yield token_stream_pb2.StreamTokensResponse(sequence=sequence, tokens=[token], usage=usage)
            if choice.finish_reason:
                finish_reason = _FINISH_REASONS.get(choice.finish_reason, finish_reason)
        finished = generation_pb2.Finished(finish_reason=finish_reason)
        yield token_stream_pb2.StreamTokensResponse(sequence=sequence + 1, usage=usage, finished=finished)


async def serve(listen: str, base_url: str, model: str) -> None:
    """Serves until SIGTERM. Prints the address."""
    server = grpc.aio.server()
    relay = TextbookRelay(AsyncOpenAI(base_url=base_url, api_key="none"), model)
    token_stream_pb2_grpc.add_TokenStreamServicer_to_server(relay, server)  # type: ignore[no-untyped-call] # generated
    port = server.add_insecure_port(listen)
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print(f"listening on {listen.rpartition(':')[0]}:{port}", flush=True)
    await stop.wait()
    await server.stop(grace=None)


def main() -> None:
    """Serves on --listen, and relays to --base-url."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--model", required=True)
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.listen, arguments.base_url, arguments.model))


if __name__ == "__main__":
    main()
