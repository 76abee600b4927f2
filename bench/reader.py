"""Reads streams as a client does, counts the tokens, and compares them with the engine's script."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import grpc
from tokenstreaming.v1 import input_pb2, token_stream_pb2

from bench.script import MODEL, Script, stamps, without_stamps
from tokengrpc import tls_credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokenstreaming.v1 import generation_pb2

    _Method = grpc.aio.UnaryStreamMultiCallable[bytes, bytes]

_METHOD = "/tokenstreaming.v1.TokenStream/StreamTokens"
_MAX_COMPLAINTS = 5


class Tally:
    """The results of all streams of a run."""

    def __init__(self) -> None:
        self.tokens = 0
        self.messages = 0
        self.latencies_us: list[int] = []
        self.whole_streams = 0
        self.cut_streams = 0
        self.complaints: list[str] = []

    def complain(self, what: str) -> None:
        """Records what was wrong with a stream."""
        self.complaints.append(what)

    def summary(self) -> dict[str, object]:
        """Returns the counts. `wrong` is the number of streams that were incomplete or incorrect."""
        return {
            "whole_streams": self.whole_streams,
            "cut_streams": self.cut_streams,
            "wrong": len(self.complaints),
            "complaints": self.complaints[:_MAX_COMPLAINTS],
            "tokens": self.tokens,
            "messages": self.messages,
        }


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

    async def close(self) -> None:
        """Closes the connections."""
        for channel in self._channels:
            await channel.close()


class Stream:
    """One stream: it is read, then checked."""

    def __init__(self, script: Script, tally: Tally) -> None:
        self._script = script
        self._tally = tally
        self._texts: list[str] = []
        self._next_index = 0
        self._token_count = 0
        self._usage = 0
        self._finished = False
        self._gap = False

    async def read(self, caller: Caller, on_first_token: Callable[[], None] | None = None) -> None:
        """Reads to the end. If the call fails or is cancelled, the part that arrived is checked."""
        call = caller.open(self._script)
        try:
            async for raw in call:
                self._take(raw)
                if on_first_token is not None and self._token_count:
                    on_first_token()
                    on_first_token = None
        except grpc.aio.AioRpcError as error:
            self._tally.complain(f"{error.code().name}: {error.details()}")
        finally:
            call.cancel()
            self._check()

    def _take(self, raw: bytes) -> None:
        now = time.monotonic_ns()
        message = token_stream_pb2.StreamTokensResponse.FromString(raw)
        self._tally.messages += 1
        tokens = message.tokens
        if tokens:
            text = self._take_tokens(tokens)
            if "@" in text:
                self._tally.latencies_us.extend(now // 1000 - sent for sent in stamps(text))
        elif message.HasField("finished"):
            self._finished = True
            self._usage = message.usage.output_token_count

    def _take_tokens(self, tokens: Sequence[generation_pb2.Token]) -> str:
        index = self._next_index
        for token in tokens:
            if token.index != index:
                self._gap = True
            index += token.count
        self._next_index = index
        text = tokens[0].text if len(tokens) == 1 else "".join([token.text for token in tokens])
        self._texts.append(text)
        self._token_count += len(tokens)
        self._tally.tokens += len(tokens)
        return text

    def _check(self) -> None:
        """Checks that every token arrived once, in order, with the right text.

        At a regular end, none is missing.
        """
        got, sent = self._token_count, self._script.tokens
        if without_stamps("".join(self._texts)) != self._script.plain_text(got):
            self._tally.complain(f"the text of {got} tokens is not what the engine sent")
        elif self._gap:
            self._tally.complain(f"indexes of {got} tokens have gaps")
        elif not self._finished:
            self._tally.cut_streams += 1
        elif got != sent or self._usage != sent:
            self._tally.complain(f"{got} tokens and a usage of {self._usage}, but the engine sent {sent}")
        else:
            self._tally.whole_streams += 1
