"""The history of the benchmark: its lines, and the picture of them in the documents."""

from __future__ import annotations

import pytest

from bench.history import HISTORY, SCENARIOS, entry, note, noted
from bench.peers import OURS, PEERS
from bench.plot import PICTURE, picture

RESULT = {
    "ratios": {name: dict.fromkeys(PEERS, 0.5) for name in SCENARIOS},
    "figures": {"flood": {OURS: {"tokens_per_s": 9_900.0, "sent_per_s": 10_000.0}}},
    "machine": {"cores": 2, "cpu": "a CPU", "python": "3.11.7", "grpcio": "1.85.1", "loadavg": [1, 1, 1]},
}


def test_the_picture_shows_the_history():
    """If not: `make bench-plot`."""
    assert PICTURE.read_text(encoding="utf-8") == picture(noted())


def test_each_version_is_noted_once():
    """With the ratios of every scenario."""
    lines = noted(HISTORY)
    assert len({line["version"] for line in lines}) == len(lines)
    assert all(list(line["ratios"]) == list(SCENARIOS) for line in lines)


def test_a_version_is_noted_anew(tmp_path):
    """The line of a later run takes the place of the one before. Other versions stay."""
    path = tmp_path / "history.jsonl"
    for version, date in (("1.0.0", "2026-01-01"), ("1.1.0", "2026-02-01"), ("1.1.0", "2026-02-02")):
        note(entry(RESULT, version, date), path)
    assert [(line["version"], line["date"]) for line in noted(path)] == [
        ("1.0.0", "2026-01-01"),
        ("1.1.0", "2026-02-02"),
    ]


def test_a_run_of_one_scenario_is_not_noted():
    """Its line would have gaps."""
    partial = RESULT | {"ratios": {"paced": dict.fromkeys(PEERS, 0.5)}}
    with pytest.raises(ValueError, match="no ratios of bursts, flood, first_token"):
        entry(partial, "1.0.0", "2026-01-01")


def test_a_rate_that_was_not_held_has_no_ratios():
    """They would say nothing about the version."""
    late = RESULT | {"figures": {"flood": {OURS: {"tokens_per_s": 5_000.0, "sent_per_s": 10_000.0}}}}
    ratios = entry(late, "1.0.0", "2026-01-01")["ratios"]
    assert (ratios["flood"], ratios["paced"]) == ({}, RESULT["ratios"]["paced"])
