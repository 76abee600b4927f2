"""Where settings come from: a TOML file, `TOKENGRPC_*` variables and flags, laid over each other."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokengrpc.config.build import build
from tokengrpc.config.keys import (
    CONFIG_VARIABLE,
    DEFINING_KEYS,
    FOREIGN_VARIABLES,
    KEYS,
    MODEL,
    PREFIX,
    SERVICE_LINK,
    Place,
    flag,
    key_at,
    names,
    variable,
)
from tokengrpc.config.kinds import engine_kinds, unknown_kind
from tokengrpc.config.messages import Problem, convert
from tokengrpc.config.remote import RemoteEngineSettings
from tokengrpc.config.values import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tokengrpc.config.schema import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Settings and, by path, such as `limits.max_readers`, where those that are no defaults came from."""

    settings: Settings
    origins: Mapping[str, str]


def load(file: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any]) -> Settings:
    """Reads all settings; `file` None asks TOKENGRPC_CONFIG for one, flags that are None were not given.

    Raises ConfigError, one line that names the file, variable or flag, the key and what is allowed.
    """
    return load_with_origins(file, environ, flags).settings


def load_with_origins(file: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any]) -> Loaded:
    """The same, with the origins."""
    layers = _read_file(file, environ)
    values = [*_from_environment(environ), *_from_flags(flags)]
    _prepare_model(layers, {value.key: value for value in values if value.place.section == MODEL})
    for value in values:
        layers.put(value)
    try:
        settings = build(layers.raw)
    except Problem as problem:
        raise ConfigError(layers.line(problem)) from None
    _refuse_unknown_variables(environ, settings)
    return Loaded(settings=settings, origins=layers.origins)


@dataclass(frozen=True, slots=True)
class _Value:
    """What one variable or flag says."""

    key: str
    value: Any
    origin: str

    @property
    def place(self) -> Place:
        return KEYS[self.key]


@dataclass(slots=True)
class _Layers:
    """Raw settings as they are put together, with the origin of each path."""

    raw: dict[str, Any]
    file: str
    origins: dict[str, str] = field(default_factory=dict)

    def put(self, value: _Value) -> None:
        """Lays a value over what is there. A section of a wrong type is left for the check to find."""
        place = value.place
        if place.section == MODEL:
            section = self.raw["models"][0]
        else:
            section = self.raw.setdefault(place.section, {}) if place.section else self.raw
        if isinstance(section, dict):
            section[place.name] = value.value
            self.origins[place.path] = value.origin

    def line(self, problem: Problem) -> str:
        """Names who is to blame; a variable or flag is the key's name already, a file's key is told."""
        path = problem.path
        if path in self.origins and self.origins[path] != self.file:
            return f"{self.origins[path]}: {problem.what}"
        outside_file = not self.file or (path.startswith(MODEL) and MODEL in self.origins)
        if outside_file and (key := key_at(path)):
            return f"{names(key)}: {problem.what}"
        return ": ".join(filter(None, (self.file, path, problem.what)))


def _read_file(file: Path | None, environ: Mapping[str, str]) -> _Layers:
    if file is None and environ.get(CONFIG_VARIABLE):
        file = Path(environ[CONFIG_VARIABLE])
    if file is None:
        return _Layers({}, "")
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: is not UTF-8, which TOML must be") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: is not TOML: {error}") from None
    return _Layers(raw, str(file), {path: str(file) for path in _paths(raw, "")})


def _paths(value: object, path: str) -> Iterator[str]:
    """The paths of all values that are no tables."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _paths(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, inner in enumerate(value):
            yield from _paths(inner, f"{path}[{index}]")
    else:
        yield path


def _from_environment(environ: Mapping[str, str]) -> Iterator[_Value]:
    """Variables hold text, which is read as its setting's type; an empty one counts as unset."""
    for key in KEYS:
        if text := environ.get(variable(key)):
            yield _typed(key, text, variable(key))


def _from_flags(flags: Mapping[str, Any]) -> Iterator[_Value]:
    for key, value in flags.items():
        if value is not None:
            yield _typed(key, value, flag(key))


def _typed(key: str, value: object, origin: str) -> _Value:
    try:
        if KEYS[key].is_table and isinstance(value, str):
            value = _table(value)
        return _Value(key, convert(value, KEYS[key].type, strict=False), origin)
    except Problem as problem:
        raise ConfigError(": ".join(filter(None, (origin, problem.path, problem.what)))) from None


def _table(text: str) -> dict[str, Any]:
    """A table in a variable or flag. Raises Problem."""
    try:
        table = json.loads(text)
    except ValueError:
        table = None
    if not isinstance(table, dict):
        raise Problem("", 'must be a JSON object, such as {"cut_at_token": 5}')
    return table


def _prepare_model(layers: _Layers, given: Mapping[str, _Value]) -> None:
    """Makes room for the one model of variables and flags, or checks that there is one to change."""
    if not given:
        return
    if defining := DEFINING_KEYS & given.keys():
        kind = "openai" if "base_url" in given else "builtin"
        kind = given["engine"].value if "engine" in given else kind
        _check_defined(kind, given)
        layers.raw["models"] = [{"kind": kind} | ({"name": "builtin"} if kind == "builtin" else {})]
        for path in [path for path in layers.origins if path.startswith("models[")]:
            del layers.origins[path]
        layers.origins[MODEL] = given[min(defining)].origin
        return
    models = layers.raw.setdefault("models", [{"name": "builtin"}])
    if not isinstance(models, list) or len(models) != 1:
        origin = next(iter(given.values())).origin
        raise ConfigError(f"{origin}: for a single model only, and {layers.file} has several: set it there")


def _check_defined(kind: str, given: Mapping[str, _Value]) -> None:
    """What would follow from an unknown engine or a missing name says less than these."""
    if kind not in engine_kinds():
        raise ConfigError(f"{given['engine'].origin}: {unknown_kind()}")
    if kind != "builtin" and "model" not in given:
        raise ConfigError(
            f"{names('model')}: required with {given[min(DEFINING_KEYS & given.keys())].origin}: "
            "the model's name, such as llama3.2"
        )


def _refuse_unknown_variables(environ: Mapping[str, str], settings: Settings) -> None:
    """A mistyped variable would be a setting that is silently not in force."""
    known = {variable(key) for key in KEYS} | {CONFIG_VARIABLE}
    engines = [engine for model in settings.models for engine in model.engines]
    named = {engine.api_key_env for engine in engines if isinstance(engine, RemoteEngineSettings)}
    named |= {tenant.key_env for tenant in settings.tenants}
    for name in sorted(environ.keys() - known - named - FOREIGN_VARIABLES):
        if name.startswith(PREFIX) and not SERVICE_LINK.fullmatch(name):
            close = get_close_matches(name, known, n=1)
            meant = f"did you mean {close[0]}? " if close else ""
            raise ConfigError(f"{name}: no such setting; {meant}known are: {', '.join(sorted(known))}")
