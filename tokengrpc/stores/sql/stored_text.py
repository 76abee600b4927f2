"""Texts as databases take them."""

from __future__ import annotations


def storable(text: str) -> str:
    """Returns a text that databases take: without NUL, which the body of the record has escaped by JSON."""
    return encodable(text).replace("\0", "\ufffd")


def encodable(text: str) -> str:
    """Returns a text without halves of surrogate pairs, which no encoding has."""
    return text if text.isascii() else text.encode(errors="replace").decode()
