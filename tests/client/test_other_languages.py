"""Tests that the clients in other languages decide by the same reasons as the Python client and the contract.

Each client's own tests check what it does with a reason. These read the sources of the clients, so they see a
reason that one language lacks.
"""

import re
from pathlib import Path

import pytest

from tokengrpc.client.policy import FORGOTTEN, REJECTED
from tokengrpc.errors import Reason

CLIENTS = Path(__file__).parents[2] / "clients"
JAVA = "java/client/src/main/java/io/tokengrpc/client/ResumePolicy.java"

# The source of each language, and what its tables of rejections and of lost generations begin and end with.
TABLES = {
    "go": ("go/policy.go", r"func rejected\b(.*?)\n}", r"func forgotten\b(.*?)\n}"),
    "java": (JAVA, r"\bREJECTED =(.*?);", r"\bFORGOTTEN =(.*?);"),
    "typescript": ("typescript/src/policy.ts", r"const turnedAway =(.*?);", r"const notKept =(.*?);"),
}


@pytest.mark.parametrize("language", TABLES)
def test_tables_equal_those_of_python(language: str) -> None:
    path, rejected, forgotten = TABLES[language]
    source = (CLIENTS / path).read_text()
    assert _reasons(source, rejected) == REJECTED
    assert _reasons(source, forgotten) == FORGOTTEN


def test_python_tables_have_reasons_of_the_contract() -> None:
    assert {reason.value for reason in Reason} >= REJECTED | FORGOTTEN


def _reasons(source: str, table: str) -> set[str]:
    (text,) = re.findall(table, source, re.DOTALL)
    return set(re.findall(r'"(\w+)"', text))
