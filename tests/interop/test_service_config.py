"""All four clients embed clients/service_config.json, each in the way of its language."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from tests.support.paths import ROOT
from tokengrpc.client.channel import SERVICE_CONFIG

if TYPE_CHECKING:
    from collections.abc import Callable

CLIENTS = ROOT / "clients"
POM = {"m": "http://maven.apache.org/POM/4.0.0"}


def python() -> Any:
    return SERVICE_CONFIG


def go() -> Any:
    """go:embed takes a file beside the source."""
    assert "//go:embed service_config.json" in (CLIENTS / "go/client.go").read_text(encoding="utf-8")
    return json.loads((CLIENTS / "go/service_config.json").read_text(encoding="utf-8"))


def java() -> Any:
    """Maven copies the file itself into the jar."""
    module = CLIENTS / "java/client"
    for resource in ET.parse(module / "pom.xml").iterfind(".//m:resource", POM):
        if resource.findtext("m:includes/m:include", namespaces=POM) == "service_config.json":
            folder = resource.findtext("m:directory", "", POM).replace("${project.basedir}", ".")
            return json.loads((module / folder / "service_config.json").read_text(encoding="utf-8"))
    raise AssertionError("pom.xml has no resource service_config.json")


def typescript() -> Any:
    """A template literal."""
    source = (CLIENTS / "typescript/src/transport/serviceConfig.ts").read_text(encoding="utf-8")
    (literal,) = re.findall(r"`(.*?)`", source, re.DOTALL)
    return json.loads(literal)


@pytest.mark.parametrize("embedded", [python, go, java, typescript], ids=lambda embedded: embedded.__name__)
def test_every_client_embeds_the_shared_service_config(embedded: Callable[[], Any]) -> None:
    """The content is equal; white space may differ."""
    shared = json.loads((CLIENTS / "service_config.json").read_text(encoding="utf-8"))
    assert embedded() == shared
