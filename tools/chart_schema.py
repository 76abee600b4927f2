"""Writes the server's settings into the schema of the chart's values: `definitions` of values.schema.json.

The settings come from `tokengrpc.config`. Everything else in the schema is written by hand. Run it after a
change of a setting, as `python -m tools.chart_schema`; the tests compare.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from tokengrpc.config import Settings
from tokengrpc.config.kinds import settings_types
from tokengrpc.config.models import ModelFields

SCHEMA = Path(__file__).parents[1] / "deploy/helm/tokengrpc/values.schema.json"

OF_THE_CHART = ("listen", "admin_listen", "admin_grpc_listen", "data_dir", "insecure", "tls")
"""Settings that follow from other values, so that the chart sets them itself."""


REPLACED = {"ModelSettings", "EngineSettings", "TLSSettings"}


def definitions() -> dict[str, Any]:
    """Returns the definitions of the server's settings, by name.

    A model or engine of a kind that comes with the server is closed: it has the settings that any of these
    kinds has. One of a plugin's kind is open, because the chart cannot know the plugin.
    """
    kinds = settings_types()
    of_engines: dict[str, Any] = {}
    parts, components = msgspec.json.schema_components(
        [Settings, ModelFields, *kinds.values()], ref_template="#/definitions/{name}"
    )
    names = [part["$ref"].rpartition("/")[2] for part in parts]
    named = {name: components.pop(name) for name in names}
    for kind in kinds.values():
        of_engines |= named[kind.__name__]["properties"]
    settings = named["Settings"]
    settings["properties"] = {k: v for k, v in settings["properties"].items() if k not in OF_THE_CHART}
    settings["properties"]["models"]["items"] = {"$ref": "#/definitions/Model"}
    engines = {"type": "array", "minItems": 1, "items": {"$ref": "#/definitions/Engine"}}
    model = {**of_engines, **named["ModelFields"]["properties"], "engines": engines}
    found = {
        "Settings": settings,
        "Model": _of_kinds(model, list(kinds), ["name"]),
        "Engine": _of_kinds(of_engines, list(kinds), []),
        **{name: value for name, value in components.items() if name not in REPLACED},
    }
    return {name: _portable(value) for name, value in sorted(found.items())}


def _of_kinds(properties: dict[str, Any], kinds: list[str], required: list[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": required,
        "properties": properties,
        "if": {"properties": {"kind": {"enum": kinds}}},
        # Without a name of its own for each, `then` would allow none of them.
        "then": {"properties": dict.fromkeys(properties, True), "additionalProperties": False},
    }


def _portable(schema: Any) -> Any:  # noqa: ANN401 - a part of a schema may be of any type
    """Returns a schema without titles and defaults, and with regular expressions that Go knows as well."""
    if isinstance(schema, list):
        return [_portable(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:  # draft 7 ignores what stands beside a reference
        return {"$ref": schema["$ref"]}
    kept = {}
    for key, value in schema.items():
        if key == "pattern":
            kept[key] = value.replace(r"\Z", "$")
        elif key == "properties":
            kept[key] = {name: _portable(part) for name, part in value.items()}
        elif key not in {"title", "default"}:
            kept[key] = _portable(value)
    return kept


def current(schema: str) -> str:
    """Returns the text of the schema with the settings of today."""
    whole = json.loads(schema)
    whole["definitions"] = definitions()
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(current(SCHEMA.read_text("utf-8")), "utf-8")
