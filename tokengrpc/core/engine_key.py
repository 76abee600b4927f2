"""A caller's own key for engines, and which engines take one."""

from __future__ import annotations

from enum import StrEnum

from tokengrpc.errors import EngineKeyNotAllowed, EngineKeyRequired


class CallerKeys(StrEnum):
    """Whether an engine is called with the caller's own key: never, if the caller sends one, or always."""

    NEVER = "never"
    ALLOWED = "allowed"
    REQUIRED = "required"


class EngineKey:
    """A caller's own key for engines, empty if there is none. Whatever shows it, shows `***` instead."""

    __slots__ = ("_key",)

    def __init__(self, key: str = "") -> None:
        self._key = key

    def __bool__(self) -> bool:
        return bool(self._key)

    def __repr__(self) -> str:
        return "***" if self._key else ""

    def __reduce__(self) -> str:
        raise TypeError("a caller's key is never stored")

    def reveal(self) -> str:
        """Returns the key, to be sent to an engine and nowhere else."""
        return self._key


NO_KEY = EngineKey()


def check_takes(key: EngineKey, modes: frozenset[CallerKeys], model: str) -> None:
    """Checks that an engine of a model takes a request with this key; `modes` are those of its engines.

    Raises EngineKeyNotAllowed or EngineKeyRequired.
    """
    if any(takes(mode, key) for mode in modes):
        return
    if key:
        raise EngineKeyNotAllowed(
            f"model {model} takes no key of yours: leave the metadata x-tokengrpc-engine-key out"
        )
    raise EngineKeyRequired(f"model {model} requires a key of yours: send it as x-tokengrpc-engine-key")


def takes(mode: CallerKeys, key: EngineKey) -> bool:
    """Returns whether an engine takes a request: one with a key never runs at the operator's expense."""
    return mode is not CallerKeys.NEVER if key else mode is not CallerKeys.REQUIRED
