"""A chat in the terminal: each message is sent with the complete conversation, and answers are streamed.

Ctrl-C stops an answer, also on the server, and keeps the conversation. Ctrl-D exits.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import suppress

from tokengrpc import Conversation, TokenStreamClient, TokenStreamError


async def answer(client: TokenStreamClient, conversation: Conversation) -> None:
    """Prints an answer while it arrives, and adds it to the conversation, even if it was stopped early."""
    # When this block exits, also by Ctrl-C, the generation is cancelled, so that no unread tokens are billed.
    # At temperature 0 the same conversation gets the same answer.
    async with client.stream(conversation, max_tokens=200, temperature=0) as stream:
        try:
            async for token in stream:
                print(token.text, end="", flush=True)
        except TokenStreamError as error:
            # The client has already tried to resume after drops. The error says what to do next.
            print(f"\nerror: {error}", file=sys.stderr, end="")
        finally:
            print(f"\n[{stream.usage.output_token_count} tokens, {stream.finish_reason or 'stopped'}]\n")
            if stream.text:
                conversation.add(stream)
            else:
                conversation.messages.pop()  # without an answer, the user can send the message again


def main() -> None:
    """Chats until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="127.0.0.1:50051", help="HOST:PORT of tokengrpc")
    parser.add_argument("--system", default="Answer in a few sentences.", help="the system message")
    options = parser.parse_args()
    conversation = Conversation(system=options.system)
    with asyncio.Runner() as runner:
        client = runner.run(connect(options.target))
        try:
            while True:
                conversation.user(input("> "))
                # Ctrl-C cancels the task that `run` waits for, and `run` then raises KeyboardInterrupt.
                with suppress(KeyboardInterrupt):
                    runner.run(answer(client, conversation))
        except (EOFError, KeyboardInterrupt):
            print()
        finally:
            runner.run(client.close())


async def connect(target: str) -> TokenStreamClient:
    """Returns a client. grpc.aio requires that it is created in the event loop that uses it."""
    return TokenStreamClient(target)


if __name__ == "__main__":
    main()
