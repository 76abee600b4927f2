"""Reads streams as a client does, counts the tokens, and compares them with the engine's script."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from tokenstreaming.v1 import input_pb2, token_stream_pb2

from bench.answer import Answer, Tally
from bench.script import MODEL, Script
from tokengrpc import tls_credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokenstreaming.v1 import generation_pb2

    _Method = grpc.aio.UnaryStreamMultiCallable[bytes, bytes]

_METHOD = "/tokenstreaming.v1.TokenStream/StreamTokens"


class Caller:
    """A caller with a few connections, which its streams use in turn, as several backends would."""

    def __init__(self, target: str, connections: int, ca_file: str = "") -> None:
        """Connects with TLS if `ca_file` has the authority of the server."""
        # Channels of a process share one connection unless an option forbids it.
        options = [("grpc.use_local_subchannel_pool", 1)]
        credentials = tls_credentials(ca_file=ca_file) if ca_file else None
        self._channels = [
            grpc.aio.insecure_channel(target, options=options)
            if credentials is None
            else grpc.aio.secure_channel(target, credentials, options=options)
            for _ in range(connections)
        ]
        self._methods: list[_Method] = [channel.unary_stream(_METHOD) for channel in self._channels]
        self._next = 0

    async def connect(self) -> None:
        """Waits until all connections are established."""
        for channel in self._channels:
            await channel.channel_ready()

    def open(self, script: Script, timeout: float | None = None) -> grpc.aio.UnaryStreamCall[bytes, bytes]:
        """Starts a call whose messages are bytes."""
        self._next = (self._next + 1) % len(self._methods)
        message = input_pb2.ConversationMessage(role=input_pb2.ROLE_USER, text=script.prompt())
        conversation = input_pb2.Conversation(messages=[message])
        request = token_stream_pb2.StreamTokensRequest(model=MODEL, conversation=conversation)
        return self._methods[self._next](request.SerializeToString(), timeout=timeout)

    async def read(
        self, script: Script, tally: Tally, on_first_token: Callable[[], None] | None = None
    ) -> None:
        """Reads an answer."""
        await Stream(script, tally).read(self, on_first_token)

    async def close(self) -> None:
        """Closes the connections."""
        for channel in self._channels:
            await channel.close()


class Stream:
    """One stream: it is read, then checked."""

    def __init__(self, script: Script, tally: Tally) -> None:
        self._script = script
        self._tally = tally
        self._answer = Answer(script, tally)
        self._next_index = 0
        self._gap = False

    async def read(self, caller: Caller, on_first_token: Callable[[], None] | None = None) -> None:
        """Reads to the end. If the call fails or is cancelled, the part that arrived is checked."""
        call = caller.open(self._script)
        try:
            async for raw in call:
                self._take(raw)
                if on_first_token is not None and self._answer.token_count:
                    on_first_token()
                    on_first_token = None
        except grpc.aio.AioRpcError as error:
            self._tally.complain(f"{error.code().name}: {error.details()}")
        finally:
            call.cancel()
            if self._gap:
                self._tally.complain(f"indexes of {self._answer.token_count} tokens have gaps")
            else:
                self._answer.check()

    def _take(self, raw: bytes) -> None:
        message = token_stream_pb2.StreamTokensResponse.FromString(raw)
        self._tally.messages += 1
        tokens = message.tokens
        if tokens:
            self._take_tokens(tokens)
        elif message.HasField("finished"):
            self._answer.usage = message.usage.output_token_count

    def _take_tokens(self, tokens: Sequence[generation_pb2.Token]) -> None:
        index = self._next_index
        for token in tokens:
            if token.index != index:
                self._gap = True
            index += token.count
        self._next_index = index
        text = tokens[0].text if len(tokens) == 1 else "".join([token.text for token in tokens])
        self._answer.take(text, len(tokens))
