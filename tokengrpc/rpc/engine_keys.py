"""The metadata with a caller's own key for engines."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from tokengrpc.core.engine_key import EngineKey
from tokengrpc.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.core.request import GenerationRequest

METADATA = "x-tokengrpc-engine-key"
# What may stand in a header: a key with spaces or controls is a mistake, and never quoted in the error.
_KEY = re.compile(r"[\x21-\x7e]{1,4096}")


def with_engine_key(
    request: GenerationRequest, metadata: Sequence[tuple[str, str | bytes]]
) -> GenerationRequest:
    """Returns a request with the key that its caller sent, if any. Raises InvalidRequest for a wrong one."""
    keys = [value for name, value in metadata if name == METADATA]
    if not keys:
        return request
    key = keys[0]
    if len(keys) > 1 or not isinstance(key, str) or not _KEY.fullmatch(key):
        rule = "must be one key of 1 to 4096 visible ASCII characters"
        raise InvalidRequest([(f"metadata {METADATA}", rule)])
    return replace(request, engine_key=EngineKey(key))
