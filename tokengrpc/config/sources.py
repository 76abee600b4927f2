"""Sources of settings: a TOML file, `TOKENGRPC_*` variables and flags, in ascending precedence."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokengrpc.config.build import build
from tokengrpc.config.files import read_bounded
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
from tokengrpc.config.values import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tokengrpc.config.schema import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Settings, and the origins of values that are not defaults, by path such as `limits.max_readers`."""

    settings: Settings
    origins: Mapping[str, str]


def load(file: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any]) -> Settings:
    """Reads all settings. If `file` is None, TOKENGRPC_CONFIG may name one. Flags that are None are unset.

    Raises ConfigError with one line: the file, variable or flag, the key, and what is allowed.
    """
    return load_with_origins(file, environ, flags).settings


def load_with_origins(file: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any]) -> Loaded:
    """Reads all settings as `load` does, and their origins."""
    layers = _read_file(file, environ)
    values = [*_from_environment(environ), *_from_flags(flags)]
    _prepare_model(layers, {value.key: value for value in values if value.place.section == MODEL})
    for value in values:
        layers.put(value)
    try:
        settings = build(layers.raw)
    except Problem as problem:
        raise ConfigError(layers.line(problem)) from None
    _reject_unknown_variables(environ, settings)
    return Loaded(settings=settings, origins=layers.origins)


@dataclass(frozen=True, slots=True)
class _Value:
    """Value of a variable or flag."""

    key: str
    value: Any
    origin: str

    @property
    def place(self) -> Place:
        return KEYS[self.key]


@dataclass(slots=True)
class _Layers:
    """Raw settings while they are merged, with the origin of each path."""

    raw: dict[str, Any]
    file: str
    origins: dict[str, str] = field(default_factory=dict)

    def put(self, value: _Value) -> None:
        """Sets a value over an earlier one. Ignores a section of a wrong type, which `build` reports."""
        place = value.place
        if place.section == MODEL:
            section = self.raw["models"][0]
        else:
            section = self.raw.setdefault(place.section, {}) if place.section else self.raw
        if isinstance(section, dict):
            section[place.name] = value.value
            self.origins[place.path] = value.origin

    def line(self, problem: Problem) -> str:
        """Returns the error message, which starts with the variable, the flag, or the file and key."""
        path = problem.path
        for outer in _outward(path):
            if self.origins.get(outer, self.file) != self.file:
                inner = path[len(outer) + 1 :]
                return ": ".join(filter(None, (self.origins[outer], inner, problem.message)))
        outside_file = not self.file or (path.startswith(MODEL) and MODEL in self.origins)
        if outside_file and (key := key_at(path)):
            return f"{names(key)}: {problem.message}"
        return ": ".join(filter(None, (self.file, path, problem.message)))


def _outward(path: str) -> Iterator[str]:
    """Yields a path and the paths of the settings around it, such as `models[0].headers`."""
    while path and path != MODEL:
        yield path
        path = path.rpartition(".")[0]


def _read_file(file: Path | None, environ: Mapping[str, str]) -> _Layers:
    if file is None and environ.get(CONFIG_VARIABLE):
        file = Path(environ[CONFIG_VARIABLE])
    if file is None:
        return _Layers({}, "")
    try:
        raw = tomllib.loads(read_bounded(file))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: is not UTF-8, which TOML requires") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: is not valid TOML: {error}") from None
    return _Layers(raw, str(file), {path: str(file) for path in _paths(raw, "")})


def _paths(value: object, path: str) -> Iterator[str]:
    """Yields the paths of all values that are not tables."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _paths(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, inner in enumerate(value):
            yield from _paths(inner, f"{path}[{index}]")
    else:
        yield path


def _from_environment(environ: Mapping[str, str]) -> Iterator[_Value]:
    """Yields the values of variables, converted to the types of their settings. Empty ones count as unset."""
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
            value = _table(value, _TABLE_EXAMPLES.get(key, _TABLE_EXAMPLES["faults"]))
        return _Value(key, convert(value, KEYS[key].type, strict=False), origin)
    except Problem as problem:
        raise ConfigError(": ".join(filter(None, (origin, problem.path, problem.message)))) from None


_TABLE_EXAMPLES = {
    "faults": '{"cut_at_token": 5}',
    "query": '{"api-version": "2024-10-21"}',
    "headers": '{"api-key": {"env": "PROVIDER_KEY"}}',
    "body": '{"provider": {"sort": "price"}}',
}


def _table(text: str, example: str) -> dict[str, Any]:
    """Parses a table in a variable or flag. Raises Problem."""
    try:
        table = json.loads(text)
    except ValueError:
        table = None
    if not isinstance(table, dict):
        raise Problem("", f"must be a JSON object, such as {example}")
    return table


def _prepare_model(layers: _Layers, given: Mapping[str, _Value]) -> None:
    """Creates the model that variables and flags define, or checks that there is exactly one to change."""
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
        raise ConfigError(
            f"{origin}: works with a single model only, and {layers.file} has several; set it in the file"
        )


def _check_defined(kind: str, given: Mapping[str, _Value]) -> None:
    """Checks the kind and the name of a model first, because later errors would be less clear."""
    if kind not in engine_kinds():
        raise ConfigError(f"{given['engine'].origin}: {unknown_kind()}")
    if kind != "builtin" and "model" not in given:
        raise ConfigError(
            f"{names('model')}: required with {given[min(DEFINING_KEYS & given.keys())].origin}: "
            "the model's name, such as llama3.2"
        )


def _reject_unknown_variables(environ: Mapping[str, str], settings: Settings) -> None:
    """Raises ConfigError for an unknown variable, because a mistyped one would be silently ignored."""
    known = {variable(key) for key in KEYS} | {CONFIG_VARIABLE}
    engines = [engine for model in settings.models for engine in model.engines]
    named = {name for engine in engines for name in engine.named_variables}
    named |= {tenant.key_env for tenant in settings.tenants}
    for name in sorted(environ.keys() - known - named - FOREIGN_VARIABLES):
        if name.startswith(PREFIX) and not SERVICE_LINK.fullmatch(name):
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are: {', '.join(sorted(known))}"
            raise ConfigError(f"{name}: unknown setting; {hint}")
