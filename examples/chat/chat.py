"""A chat in the terminal: the whole talk goes with each message, and answers appear as they are generated.

Ctrl-C stops an answer, on the server too, and keeps the talk; Ctrl-D leaves.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import suppress

from tokengrpc import Conversation, TokenStreamClient, TokenStreamError


async def answer(client: TokenStreamClient, talk: Conversation) -> None:
    """Prints an answer while it comes, and takes it into the talk, also when it was stopped in the middle."""
    # Leaving this block, by Ctrl-C as well, stops the generation: nobody pays for what nobody reads.
    async with client.stream(talk, max_tokens=200) as stream:
        try:
            async for token in stream:
                print(token.text, end="", flush=True)
        except TokenStreamError as error:
            # Drops of the connection were resumed before this; the error says what is left to do.
            print(f"\nerror: {error}", file=sys.stderr, end="")
        finally:
            print(f"\n[{stream.usage.output_token_count} tokens, {stream.finish_reason or 'stopped'}]\n")
            if stream.text:
                talk.add(stream)
            else:
                talk.messages.pop()  # without an answer the message can be said again


def main() -> None:
    """Talks until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="127.0.0.1:50051", help="HOST:PORT of tokengrpc")
    parser.add_argument("--system", default="Answer in a few sentences.", help="what the model is told first")
    options = parser.parse_args()
    talk = Conversation(system=options.system)
    with asyncio.Runner() as runner:
        client = runner.run(connect(options.target))
        try:
            while True:
                talk.user(input("> "))
                # A Ctrl-C cancels the task that `run` waits for; it comes back as KeyboardInterrupt.
                with suppress(KeyboardInterrupt):
                    runner.run(answer(client, talk))
        except (EOFError, KeyboardInterrupt):
            print()
        finally:
            runner.run(client.close())


async def connect(target: str) -> TokenStreamClient:
    """A client; grpc.aio wants it made in the loop that will use it."""
    return TokenStreamClient(target)


if __name__ == "__main__":
    main()
