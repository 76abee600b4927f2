"""docs/top.md: its keys are those of the program, and its JSON has the program's fields."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.support.commands import serving, tokengrpc
from tests.support.paths import ROOT
from tests.support.ports import reserved_port
from tokengrpc.cli.top.screen.view import help_lines

PAGE = (ROOT / "docs/top.md").read_text(encoding="utf-8")


def test_the_keys_are_those_of_the_help() -> None:
    """In the same order and words."""
    rows = re.findall(r"^\| (`.+`) \| (.+) \|$", PAGE.split("\n## Keys\n")[1].split("\n## ")[0], re.MULTILINE)
    assert [(keys.replace("`", ""), meaning) for keys, meaning in rows] == help_lines()


def fields(value: Any) -> set[str]:
    return set(value) if isinstance(value, dict) else set()


def test_the_json_has_the_documented_fields() -> None:
    """Of servers, models and engines as well. A server without callers has them all but errors."""
    (text,) = re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    told = json.loads(text)
    admin = f"127.0.0.1:{reserved_port()}"
    with serving("--admin-listen", admin):
        found = json.loads(tokengrpc("top", "--admin", admin, "--once", "--json").stdout)
    assert list(found) == list(told)
    total = list(found["total"])
    assert total == list(told["total"])
    assert list(found["servers"][0]) == [*told["servers"][0], *total]
    model = found["models"]["builtin"]
    assert list(model) == [*total, "engines"]
    assert list(model["engines"]["builtin"]) == total[total.index("running") :]
    latencies = "time_to_first_token_seconds"
    assert fields(found["total"][latencies]) == fields(told["total"][latencies])
    assert found["total"]["breakers"] == {"closed": 1, "half_open": 0, "open": 0}
