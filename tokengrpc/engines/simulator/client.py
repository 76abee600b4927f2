"""The client side of a simulated engine: reads a script's bytes like those of a real server."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import replace
from typing import TYPE_CHECKING

from msgspec import structs

from tokengrpc.core.model import Delta, ToolCallFragment
from tokengrpc.engines.openai.chunks.decoder import ChunkDecoder
from tokengrpc.engines.openai.engine import OpenAIEngine
from tokengrpc.engines.openai.settings import OpenAISettings
from tokengrpc.engines.simulator.renderer import BYTES, CALL_OPAQUE, OPAQUE
from tokengrpc.engines.simulator.transport import WiredHTTP
from tokengrpc.engines.upstream.sending import UpstreamRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.core.ports.engine import Continuation
    from tokengrpc.core.request import GenerationRequest, OutputOptions
    from tokengrpc.engines.simulator.script import Script


class Client(OpenAIEngine):
    """An engine over HTTP whose server is a script. Its requests are empty: the script knows the request."""

    def __init__(self, name: str, script: Script, *, connect_timeout: float) -> None:
        super().__init__(OpenAISettings(name=name, kind="openai", base_url="http://simulated/v1"))
        self._http = self._wired = WiredHTTP(
            name,
            script.serve,
            connect_timeout=connect_timeout,
            delay=script.plan.connect_delay,
            refused=script.plan.refuse,
        )

    async def close(self) -> None:
        """Closes the connection, and waits until the wrapped engine's generator is closed."""
        await super().close()
        if self._wired.wire is not None:
            await self._wired.wire.wait_served()
            self._wired.wire = None

    def _upstream_request(self, request: GenerationRequest, _: Continuation | None) -> UpstreamRequest:
        decoder = Decoder(self.name, request.output, self._hide)
        return UpstreamRequest(path="/chat/completions", body=b"{}", decoder=decoder)


class Decoder(ChunkDecoder):
    """A decoder that also reads the renderer's private fields, so that deltas arrive unchanged."""

    _OPAQUE = b'{"%b"' % OPAQUE.encode()
    _CALL_OPAQUE = b'{"%b"' % CALL_OPAQUE.encode()
    _BYTES = b'"%b": true' % BYTES.encode()  # in a text, its quotes would be escaped

    def __init__(self, engine: str, output: OutputOptions, hide: Callable[[str], str]) -> None:
        super().__init__(engine, replace(output, raw_bytes=True), hide)

    def _feed_payload(self, payload: bytes, deltas: list[Delta]) -> None:
        if payload.startswith(self._OPAQUE):
            deltas.append(Delta(count=0, opaque=b64decode(json.loads(payload)[OPAQUE])))
            return
        if payload.startswith(self._CALL_OPAQUE):
            index, opaque = json.loads(payload)[CALL_OPAQUE]
            fragment = ToolCallFragment(call_index=index, opaque=b64decode(opaque))
            deltas.append(Delta(count=0, fragments=(fragment,)))
            return
        before = len(deltas)
        super()._feed_payload(payload, deltas)
        if self._BYTES in payload:
            # Another engine may have sent the beginning of a character: only bytes can be joined with it.
            deltas[before:] = [
                structs.replace(delta, text=None) if delta.raw else delta for delta in deltas[before:]
            ]
