"""The details of single tokens that a request asks for, and deltas that have one token each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tokengrpc.core.model import Delta
from tokengrpc.engines.openai.chunks.lenient import Asked
from tokengrpc.engines.openai.chunks.logprobs import TokenInfo, split_text, token_infos

if TYPE_CHECKING:
    from tokengrpc.core.request import OutputOptions
    from tokengrpc.engines.openai.schema import Choice


class TokenDetails:
    """Reads logprobs, raw bytes and ids of tokens, limited to what the request asks for."""

    def __init__(self, output: OutputOptions) -> None:
        self._wants_logprobs = output.top_logprob_count is not None
        self._top_count = output.top_logprob_count or 0
        self._wants_raw = output.raw_bytes
        self.wants_ids = output.token_ids
        self._wants_infos = self._wants_logprobs or self._wants_raw
        self.asked = Asked(self._wants_infos, self._top_count > 0, self._wants_raw, self.wants_ids)

    def read(self, choice: Choice) -> list[TokenInfo]:
        """Returns what a choice reports about each of its tokens."""
        infos = token_infos(choice.logprobs) if self._wants_infos and choice.logprobs is not None else []
        ids = choice.token_ids if self.wants_ids else None
        if not ids:
            return infos
        if not infos:
            return [TokenInfo(id=number) for number in ids]
        if len(ids) != len(infos):
            return infos
        return [msgspec.structs.replace(info, id=number) for info, number in zip(infos, ids, strict=True)]

    def split(self, delta: Delta, infos: list[TokenInfo], deltas: list[Delta]) -> None:
        """Adds one delta per token. Together they have the content of `delta`."""
        texts = {"text": delta.text or "", "reasoning": delta.reasoning, "refusal": delta.refusal}
        split_field = next((name for name, text in texts.items() if text), "text")
        parts = split_text(texts[split_field], infos)
        last = len(infos) - 1
        for i, (info, part) in enumerate(zip(infos, parts, strict=True)):
            token_texts: dict[str, Any] = dict(texts) if i == 0 else {}
            token_texts[split_field] = part
            deltas.append(
                Delta(
                    **token_texts,
                    count=1 if i < last else max(1, (delta.count or 0) - last),
                    id=info.id if self.wants_ids else None,
                    logprob=info.logprob if self._wants_logprobs else None,
                    top_logprobs=info.top[: self._top_count],
                    raw=info.raw if self._wants_raw else None,
                    fragments=delta.fragments if i == last else (),
                    usage=delta.usage if i == last else None,
                )
            )
