"""Runs every call of grpcurl and grpc-health-probe in the documentation, and compares the outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.commands import serving
from tests.support.grpcurl import run
from tests.support.paths import ROOT
from tests.support.shown_calls import Call, agrees, shown_calls
from tests.support.toolchains import BUILD_TIMEOUT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(BUILD_TIMEOUT + 120)

SHOWN_TARGET = "127.0.0.1:50051"
PAGES = {
    path.relative_to(ROOT).as_posix(): calls
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if (calls := list(shown_calls(path.read_text(encoding="utf-8"))))
}
# For a page whose calls need more than `make run` offers.
FLAGS = {"docs/simulator.md": ("--allow-request-faults", "true")}
TENANT = '[[tenants]]\nname = "search"\nkey_env = "SEARCH_KEY"\n'


def needs_key(call: Call) -> bool:
    return any("Bearer KEY" in word for word in call.words)


def check(call: Call, target: str) -> None:
    """Runs a call against this server, and compares its outcome with the page."""
    assert call.words.count(SHOWN_TARGET) == 1
    answer = run(*(target if word == SHOWN_TARGET else word for word in call.words))
    assert answer.exit_code == call.exit_code, f"{call.words}: {answer.err}"
    assert answer.out + answer.err
    assert answer.out or not call.timed
    if call.shown:
        assert agrees(call.shown, answer.messages, timed=call.timed), answer.out


@pytest.mark.parametrize("page", PAGES)
def test_calls_without_a_key(page):
    """One after another, against a server like that of `make run`."""
    with serving("--pace", "40", "--hints", *FLAGS.get(page, ())) as server:
        for call in PAGES[page]:
            if not needs_key(call):
                check(call, server.target)


def test_calls_with_a_key(tmp_path):
    """Against a server that requires it."""
    file: Path = tmp_path / "tokengrpc.toml"
    file.write_text(TENANT, encoding="utf-8")
    calls = [call for page in PAGES.values() for call in page if needs_key(call)]
    assert calls
    with serving("--config", str(file), SEARCH_KEY="KEY") as server:
        for call in calls:
            without = [word for word in call.words if word not in {"-H", "authorization: Bearer KEY"}]
            refused = run(*(server.target if word == SHOWN_TARGET else word for word in without))
            assert "Unauthenticated" in refused.err
            check(call, server.target)


def test_pages_show_calls():
    """The pages that show calls still do, with some of their output."""
    assert {"README.md", "docs/contract.md"} <= PAGES.keys()
    assert all(any(call.shown for call in calls) for calls in PAGES.values())


@pytest.mark.parametrize(
    ("shown", "agreed"),
    [
        ('{ "a": 1, "b": { "c": "x", … } }\n{ "d": "…" }', True),
        ('{ "a": 1, "b": … }\n{ "d": "y" }', True),
        ('…\n{ "d": "y" }', True),
        ('{ "a": 1, "b": { "c": "x" } }\n{ "d": "y" }', False),
        ('{ "a": 2, … }\n{ "d": "y" }', False),
        ('{ "a": 1, "z": …, … }\n{ "d": "y" }', False),
        ('{ "a": 1, "b": … }', False),
        ('…\n{ "d": "z" }', False),
    ],
)
def test_shown_output_is_compared(shown, agreed):
    """Shown fields and values must be present. Only `…` leaves something out."""
    came = [{"a": 1, "b": {"c": "x", "e": 2}}, {"d": "y"}]
    assert agrees(shown, came, timed=False) is agreed
