"""The ranks of o200k_base in the package. `tools/pack_ranks.py` packs them."""

from __future__ import annotations

import hashlib
import lzma
from importlib import resources

FILE = "o200k_base.xz"
"""The tokens of one byte in order, then, for each other token, the ranks of the two tokens that make it up.

First all left ranks, then all right ones; of each, the lowest bytes of all, the middle ones, the highest.
"""

SHIFTS = (0, 8, 16)
_SHA256 = "f97c693eb20c8da8de4cf5e021b2691658eec3e06e5b4f6cbeb2fe3350d0f00a"


def ranks() -> dict[bytes, int]:
    """Returns the rank of each token. Raises ValueError if the package is damaged."""
    packed = resources.files("tokengrpc.tokenizers").joinpath("data", FILE).read_bytes()
    if hashlib.sha256(packed).hexdigest() != _SHA256:
        raise ValueError("the packaged ranks of o200k_base are damaged: reinstall tokengrpc")
    return unpack(packed)


def unpack(packed: bytes) -> dict[bytes, int]:
    """Returns the rank of each token of a file like the packaged one."""
    data = lzma.decompress(packed)
    tokens = [data[i : i + 1] for i in range(256)]
    count = (len(data) - 256) // (2 * len(SHIFTS))
    planes = [data[start : start + count] for start in range(256, len(data), count)]
    left, right = (
        [low | middle << 8 | high << 16 for low, middle, high in zip(*part, strict=True)]
        for part in (planes[:3], planes[3:])
    )
    for first, second in zip(left, right, strict=True):
        tokens.append(tokens[first] + tokens[second])
    return {token: rank for rank, token in enumerate(tokens)}
