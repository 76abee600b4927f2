"""Conversion of TOML tables to settings. Settings that are made in code use the same functions."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from msgspec import structs

from tokengrpc.config.engine import EngineSettings
from tokengrpc.config.kinds import convert_engine, engine_fields, fields_of
from tokengrpc.config.messages import Problem, convert, own_problem, unknown_key
from tokengrpc.config.models import ModelFields, ModelSettings
from tokengrpc.config.schema import Settings
from tokengrpc.config.values import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def build(raw: Mapping[str, Any]) -> Settings:
    """Converts the tables of a file to settings. Raises Problem."""
    names = raw.get("authenticator")
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        raw = {**raw, "authenticator": ",".join(names)}
    if "models" not in raw:
        return convert(raw, Settings)
    tables = raw["models"]
    if not isinstance(tables, list) or not tables:
        raise Problem("models", "must be a list of tables, at least 1")
    models = [_below(f"models[{index}]", table, build_model) for index, table in enumerate(tables)]
    return convert({**raw, "models": models}, Settings)


def build_model(raw: Mapping[str, Any]) -> ModelSettings:
    """Converts the table of a model, with `engines` or with the settings of one engine. Raises Problem."""
    own = {name: raw[name] for name in ModelFields.__struct_fields__ if name in raw}
    of_engine = {name: value for name, value in raw.items() if name not in own and name != "engines"}
    if unknown := sorted(of_engine.keys() - engine_fields()):
        allowed = [*ModelSettings.__struct_fields__, *fields_of(raw.get("kind", "builtin"))]
        raise Problem(unknown[0], unknown_key(unknown[0], list(dict.fromkeys(allowed))))
    fields = convert(own, ModelFields)
    if "engines" not in raw:
        engines: tuple[EngineSettings, ...] = (convert_engine(of_engine),)
    elif of_engine:
        raise Problem(min(of_engine), "cannot be combined with engines; set it in [[models.engines]] instead")
    else:
        engines = _engines(raw["engines"])
    try:
        return ModelSettings(**structs.asdict(fields), engines=engines)
    except ConfigError as error:
        raise own_problem(str(error)) from None


def _engines(tables: Any) -> tuple[EngineSettings, ...]:  # noqa: ANN401 - whatever the file has
    if not isinstance(tables, list | tuple) or not tables:
        raise Problem("engines", "must be a list of tables, at least 1")
    return tuple(
        table if isinstance(table, EngineSettings) else _below(f"engines[{index}]", table, convert_engine)
        for index, table in enumerate(tables)
    )


def engine_settings(**settings: Any) -> EngineSettings:  # noqa: ANN401 - each setting has its type
    """Creates the settings of one engine, according to its `kind`. Raises ConfigError."""
    with _as_config_error():
        return convert_engine(settings)


def model_settings(**settings: Any) -> ModelSettings:  # noqa: ANN401 - each setting has its type
    """Creates the settings of one model, as from a table of a file. Raises ConfigError."""
    with _as_config_error():
        return build_model(settings)


@contextmanager
def _as_config_error() -> Iterator[None]:
    try:
        yield
    except Problem as problem:
        raise ConfigError(str(problem)) from None


def _below(path: str, table: Any, make: Any) -> Any:  # noqa: ANN401 - any struct
    """Converts the table at a path. Raises Problem with the full path."""
    if not isinstance(table, dict):
        if isinstance(table, ModelSettings):
            return table
        raise Problem(path, "must be a table")
    try:
        return make(table)
    except Problem as problem:
        raise Problem(f"{path}.{problem.path}" if problem.path else path, problem.message) from None
