"""The scripts that run in the store: one file each, behind what all of them share."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from functools import cache
from importlib.resources import files


class Script(StrEnum):
    """Scripts by the name of their file."""

    APPEND = "append"
    CANCEL = "cancel"
    CLAIM = "claim"
    COUNT = "count"
    DESCRIBE = "describe"
    LIST = "list"
    ORPHAN = "orphan"
    OVERDUE = "overdue"
    READ = "read"
    RELEASE = "release"
    RENEW = "renew"
    RETAIN = "retain"
    TAKE_OVER = "take_over"


@cache
def source(script: Script) -> bytes:
    """Returns the text of a script as it is loaded."""
    folder = files(__package__) / "lua"
    return (folder / "common.lua").read_bytes() + (folder / f"{script}.lua").read_bytes()


@cache
def digest(script: Script) -> str:
    """Returns the name by which a loaded script is called."""
    return hashlib.sha1(source(script), usedforsecurity=False).hexdigest()
