"""The installed kinds of engines, and the settings of each."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from msgspec import NODEFAULT, structs

from tokengrpc.config.messages import Problem, convert, listed
from tokengrpc.config.remote import PluginEngineSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokengrpc.config.engine import EngineSettings

ENGINES = "tokengrpc.engines"
SETTINGS = "tokengrpc.engine_settings"


@cache
def engine_kinds() -> tuple[str, ...]:
    """Returns the names of all installed kinds."""
    return tuple(sorted(entry_points(group=ENGINES).names))


@cache
def settings_types() -> dict[str, type[EngineSettings]]:
    """Returns the settings structs by kind, for the kinds that have one."""
    return {point.name: point.load() for point in sorted(entry_points(group=SETTINGS))}


def settings_type(kind: str) -> type[EngineSettings]:
    """Returns the settings struct of a kind. Raises Problem for a kind that is not installed."""
    if kind not in engine_kinds():
        raise Problem("kind", unknown_kind())
    return settings_types().get(kind, PluginEngineSettings)


def unknown_kind() -> str:
    """Returns the message about a kind that is not installed."""
    return f"there is no such kind of engine; installed are: {', '.join(engine_kinds())}"


def fields_of(kind: object) -> tuple[str, ...]:
    """Returns the names of the settings of a kind; none for a kind that is not installed."""
    if isinstance(kind, str) and kind in engine_kinds():
        return settings_type(kind).__struct_fields__
    return ()


def engine_fields() -> frozenset[str]:
    """Returns the names of the settings that any kind has."""
    types: list[type[EngineSettings]] = [*settings_types().values(), PluginEngineSettings]
    return frozenset().union(*(kind.__struct_fields__ for kind in types))


def convert_engine(raw: Mapping[str, Any]) -> EngineSettings:
    """Converts the table of an engine. Raises Problem.

    A setting that only other kinds use is rejected, so that no setting is silently ignored. It is accepted if
    it has its default value.
    """
    kind = raw.get("kind", "builtin")
    struct = settings_type(kind) if isinstance(kind, str) else PluginEngineSettings
    own = dict(raw)
    for name in raw.keys() - set(struct.__struct_fields__):
        readers = [other for other, fields in _readers(name).items() if fields != raw[name]]
        if name in engine_fields() and readers:
            others = listed(sorted(_readers(name)))
            raise Problem(name, f"for {others} engines only; remove it, or set kind (--engine)")
        if name in engine_fields():
            del own[name]
    return convert(own, struct)


def _readers(name: str) -> dict[str, Any]:
    """Returns the kinds that use a setting, each with the setting's default."""
    found = {}
    for kind, struct in settings_types().items():
        for field in structs.fields(struct):
            if field.name == name:
                default = field.default if field.default is not NODEFAULT else field.default_factory()
                found[kind] = list(default) if isinstance(default, tuple) else default
    return found
