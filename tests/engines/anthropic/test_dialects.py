"""Dialects of servers that speak the Messages API: what they ignore is rejected."""

from __future__ import annotations

import pytest
from tokenstreaming.v1 import input_pb2

from tests.support.anthropic_dialect import ANTHROPIC
from tests.support.harness import collect, serving, upstream
from tests.support.scripted_engine import Done, Finish, ScriptedEngine, Text
from tokengrpc.config import ConfigError, engine_settings
from tokengrpc.core.model import Capability
from tokengrpc.engines.anthropic.dialects import DIALECTS
from tokengrpc.engines.anthropic.engine import create

SCHEMA = {"output_constraint": input_pb2.OutputConstraint(json_schema="{}")}


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_json_schemas(dialect: str):
    """Only servers that obey a schema get one; requests to others are rejected before they are sent."""
    async with ScriptedEngine(ANTHROPIC) as engine:
        engine.script(Text("{}"), Finish(), Done())
        settings = {"kind": "anthropic", "api": "auto", "options": {"dialect": dialect}}
        async with serving(upstream(engine.base_url, **settings)) as server:
            outcome = await collect(server.stream(**SCHEMA))
            obeys = Capability.JSON_SCHEMA in DIALECTS[dialect].capabilities
            assert (outcome.info is None) is obeys
            assert len(engine.calls) == obeys
            if not obeys:
                assert outcome.info.reason == "UNSUPPORTED_FEATURE"


def test_a_server_that_has_learned_it():
    """Settings correct the row."""
    settings = engine_settings(
        name="m", kind="anthropic", options={"dialect": "ollama"}, extra_capabilities=["JSON_SCHEMA"]
    )
    assert Capability.JSON_SCHEMA in create(settings, None).capabilities


def test_an_unknown_dialect():
    """It is refused with the names that exist."""
    with pytest.raises(ConfigError, match=r"dialect.*anthropic, .*llamacpp"):
        create(engine_settings(name="m", kind="anthropic", options={"dialect": "x"}), None)
