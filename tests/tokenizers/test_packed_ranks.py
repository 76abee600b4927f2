"""The packaged ranks of o200k_base."""

from __future__ import annotations

import binascii
import hashlib
from typing import TYPE_CHECKING

import pytest

from tokengrpc.tokenizers import packed_ranks
from tools.pack_ranks import pack

if TYPE_CHECKING:
    from collections.abc import Mapping

# Of o200k_base.tiktoken, in tiktoken_ext/openai_public.py.
OFFICIAL = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"


def tiktoken_file(ranks: Mapping[bytes, int]) -> bytes:
    """Returns the ranks as tiktoken's own file has them."""
    return b"".join(b"%b %d\n" % (binascii.b2a_base64(token, newline=False), n) for token, n in ranks.items())


def test_the_ranks_are_those_of_tiktoken() -> None:
    """Byte for byte, the file that tiktoken would download."""
    assert hashlib.sha256(tiktoken_file(packed_ranks.ranks())).hexdigest() == OFFICIAL


def test_packing_loses_nothing() -> None:
    """The first ranks, packed and unpacked."""
    some = dict(list(packed_ranks.ranks().items())[:5000])
    assert packed_ranks.unpack(pack(tiktoken_file(some))) == some


def test_a_damaged_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line that says what to do."""
    monkeypatch.setattr(packed_ranks, "FILE", "../packed_ranks.py")
    with pytest.raises(ValueError, match="damaged: reinstall tokengrpc"):
        packed_ranks.ranks()
