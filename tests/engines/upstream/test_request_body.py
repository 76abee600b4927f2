"""Parts of request bodies."""

from __future__ import annotations

import msgspec
import pytest

from tokengrpc.engines.upstream.request_body import json_ids


@pytest.mark.parametrize("count", [0, 1, 3, 64 * 1024, 64 * 1024 + 1, 200_000])
def test_token_ids_are_encoded_in_pieces(count: int):
    """The pieces together are the same JSON as the whole list."""
    ids = tuple(range(count))
    assert bytes(json_ids(ids)) == msgspec.json.encode(ids)
